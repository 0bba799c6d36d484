"""Scores of a split: pair by pair in the order of ids, and summarized by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scipy.stats import beta

from dpo_core.evaluation.outcomes import label_slices
from sweeps.selection.split_scores import (
    pair_scores,
    reference_scores,
    split_scores,
)
from sweeps.selection.statistics import Groups, accuracy_intervals
from tests.support.records import LIKELIHOOD, REWARD, TOKEN, outcomes


def test_scores_by_hand() -> None:
    told = split_scores(outcomes(), REWARD)
    assert (told["objective"], told["correct"], told["ties"], told["total"]) == (REWARD, 3, 1, 5)
    assert told["accuracy"] == told[REWARD] == 0.7  # (3 + 1/2) / 5
    assert told[TOKEN] == 0.4  # 2 of 5
    assert told[LIKELIHOOD] == 0.5  # (2 + 1/2) / 5
    # The spread of the scores is (3 + ¼)/5 − 0.7² = 0.16, that of right and wrong alone 0.7 · 0.3;
    # with two imagined pairs, which add ½/5, the five are worth 5 · 0.31 / 0.26 pairs without a tie.
    worth = 5 * 0.31 / 0.26
    low, high = (
        beta.ppf(0.025, 0.7 * worth, 0.3 * worth + 1),
        beta.ppf(0.975, 0.7 * worth + 1, 0.3 * worth),
    )
    assert told["interval"] == pytest.approx([low, high])
    length = told["length"]
    assert (length["chosen_longer"]["correct"], length["chosen_longer"]["total"]) == (2, 2)
    assert length["chosen_shorter"]["accuracy"] == 0.25  # a tie and a wrong one
    assert length["length_controlled"] == 0.625  # (1 + 0.25) / 2
    assert length["longer_wins"] == 0.5  # (2 + 1/2) / 5
    assert told["health"] == pytest.approx(
        {
            "drift_chosen": -0.05,  # (2 + 3 − 1 − 1 − 4) / 20 tokens
            "drift_rejected": -0.125,  # (−1 + 2 − 2 − 1 + 0) / 16 tokens
            "distance_chosen": 0.55,  # (2 + 3 + 1 + 1 + 4) / 20 tokens
            "distance_rejected": 0.375,  # (1 + 2 + 2 + 1 + 0) / 16 tokens
            "displaced": 0.2,  # the third pair: its margin grew, its chosen answer fell
            "mean_margin": 0.2,  # (3 + 1 + 1 + 0 − 4) / 5
        }
    )


def test_scores_of_the_untouched_policy_are_one_half_on_rewards() -> None:
    told = split_scores(outcomes().as_reference, REWARD)
    assert (told["correct"], told["ties"], told["accuracy"]) == (0, 5, 0.5)
    assert told[TOKEN] == 0.5
    assert told[LIKELIHOOD] == 0.5  # 2, −6, 1, 0, −1: two right, one tie


def test_scores_follow_the_objective() -> None:
    told = split_scores(outcomes(), LIKELIHOOD)
    assert (told["correct"], told["ties"], told["accuracy"]) == (2, 1, 0.5)
    assert told["length"]["chosen_longer"]["correct"] == 1


def test_pair_scores_are_in_the_order_of_ids() -> None:
    assert pair_scores(outcomes(), REWARD).tolist() == [1.0, 1.0, 1.0, 0.5, 0.0]
    shuffled = replace(outcomes(), ids=tuple("edcba"))
    assert pair_scores(shuffled, REWARD).tolist() == [0.0, 0.5, 1.0, 1.0, 1.0]


def test_pairs_that_go_together_widen_the_interval() -> None:
    groups = Groups.of(list("aabbb"))
    grouped = split_scores(outcomes(), REWARD, groups=groups)["interval"]
    scores = pair_scores(outcomes(), REWARD)
    assert grouped == accuracy_intervals(scores[None], groups)[0].tolist()
    assert grouped[0] < split_scores(outcomes(), REWARD)["interval"][0]


def test_the_reference_has_no_interval_around_its_constant() -> None:
    assert reference_scores(outcomes(), REWARD)["interval"] is None
    groups = Groups.of(list("aabbb"))
    likelihood = reference_scores(outcomes(), LIKELIHOOD, groups)
    scores = pair_scores(outcomes().as_reference, LIKELIHOOD)
    assert likelihood["interval"] == accuracy_intervals(scores[None], groups)[0].tolist()


def test_scores_by_label() -> None:
    labels = {"source": {i: "hh" if i in "ab" else "red_team" for i in "abcde"}}
    by = split_scores(outcomes(), LIKELIHOOD, labels)["by"]
    assert by == label_slices(outcomes(), LIKELIHOOD, labels)
    assert by["source"]["hh"]["total"] == 2
    assert split_scores(outcomes(), REWARD)["by"] == {}
