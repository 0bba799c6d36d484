"""Whether a checkpoint moved the model, and how a verdict counts its pairs."""

from __future__ import annotations

import numpy as np
import pytest

from dpo_core.evaluation.outcomes import Outcomes
from sweeps.selection.eligibility import (
    is_moved,
    margin_threshold,
    moved_scores,
    violations,
)
from tests.support.records import LIKELIHOOD, REWARD, TOKEN


def outcomes_of(margins: list[float], reference_gaps: list[float] | None = None) -> Outcomes:
    """Return pairs whose chosen answers gained `margins` nats, in answers of four tokens.

    `reference_gaps` is by how many nats the untouched model prefers the chosen answers.
    """
    count = len(margins)
    zero, tokens = np.zeros(count), np.full(count, 4)
    chosen = np.array(reference_gaps or [0.0] * count)
    ids = tuple(f"p{i:02d}" for i in range(count))
    return Outcomes(ids, chosen + np.array(margins), zero, chosen, zero, tokens, tokens)


def test_the_threshold_is_the_setting_or_three_times_the_noise() -> None:
    assert margin_threshold(0.1, 0.0) == 0.1
    assert margin_threshold(0.1, 0.03) == 0.1
    assert margin_threshold(0.1, 0.5) == 1.5
    assert margin_threshold(0.0, 0.5) == 0.0, "0 switches eligibility off"


def test_a_policy_that_did_nothing_is_not_eligible_however_right_its_signs_are() -> None:
    """A learning rate of 1e-7 for 16 steps: no margin above 0.0022 nats, nine in ten right."""
    nothing = outcomes_of([0.0022] * 90 + [-0.0022] * 10)
    assert nothing.count(REWARD).accuracy == 0.9
    assert violations(nothing, REWARD, 0.1)["moved"] > 0
    assert moved_scores(nothing, REWARD, 0.1).tolist() == [0.5] * 100
    assert violations(nothing, REWARD, 0.0) == {}


@pytest.mark.parametrize(("moved", "eligible"), [(50, False), (51, True)])
def test_more_than_half_of_the_pairs_must_have_moved(moved: int, eligible: bool) -> None:
    margins = [0.2] * (moved - 10) + [-0.2] * 10 + [0.1] * (100 - moved)  # 0.1 is not above 0.1
    number = violations(outcomes_of(margins), REWARD, 0.1)["moved"]
    assert (number <= 0) == eligible
    assert number == pytest.approx((51 - moved) / 100)


@pytest.mark.parametrize(("right", "eligible"), [(50, False), (51, True)])
def test_it_must_be_right_more_often_than_wrong(right: int, eligible: bool) -> None:
    number = violations(outcomes_of([1.0] * right + [-1.0] * (100 - right)), REWARD, 0.1)[
        "accuracy"
    ]
    assert (number <= 0) == eligible


def test_by_likelihood_it_must_beat_what_the_untouched_model_ranks_right() -> None:
    # The untouched model ranks two of four right; the policy turned one wrong pair.
    outcomes = outcomes_of([2.0, 2.0, 2.0, 2.0], [1.0, 1.0, -1.0, -3.0])
    assert violations(outcomes, LIKELIHOOD, 0.1)["accuracy"] == pytest.approx((1 - 2) / 4)
    unmoved = outcomes_of([0.01] * 4, [1.0, 1.0, 1.0, -3.0])
    assert violations(unmoved, LIKELIHOOD, 0.1)["accuracy"] > 0


def test_a_pair_that_did_not_move_has_the_untouched_models_score() -> None:
    outcomes = outcomes_of([0.2, 0.05, -0.05, -0.2], [-1.0, -1.0, 1.0, 0.1])
    assert moved_scores(outcomes, REWARD, 0.1).tolist() == [1.0, 0.5, 0.5, 0.0]
    assert moved_scores(outcomes, TOKEN, 0.1).tolist() == [1.0, 0.5, 0.5, 0.0]
    assert moved_scores(outcomes, LIKELIHOOD, 0.1).tolist() == [0.0, 0.0, 1.0, 0.0]
    assert moved_scores(outcomes, REWARD, 0.0).tolist() == [1.0, 1.0, 0.0, 0.0]


def test_scores_are_in_the_order_of_ids() -> None:
    outcomes = outcomes_of([0.2, -0.2, 0.3])
    mixed = Outcomes(
        ("c", "a", "b"),
        *(getattr(outcomes, name) for name in ("chosen_logp", "rejected_logp")),
        *(getattr(outcomes, name) for name in ("ref_chosen_logp", "ref_rejected_logp")),
        outcomes.chosen_tokens,
        outcomes.rejected_tokens,
    )
    assert moved_scores(mixed, REWARD, 0.1).tolist() == [0.0, 1.0, 1.0]


def test_a_margin_that_is_no_number_counts_as_moved_and_wrong() -> None:
    outcomes = outcomes_of([float("nan"), 1.0])
    assert is_moved(outcomes, 0.1).tolist() == [True, True]
    assert moved_scores(outcomes, REWARD, 0.1).tolist() == [0.0, 1.0]
