"""The verdict on the final split: its word, its sentence and its numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sweeps.selection.guardrails import Check
from sweeps.selection.rule import Candidate
from sweeps.selection.statistics import CONFIDENCE, Comparison
from sweeps.selection.verdict import (
    BETTER,
    NOTHING,
    SAME,
    WORSE,
    RaisedThreshold,
    role_of_choice,
    verdict_on_final,
    verdict_without_winner,
    verdict_word,
)


@pytest.mark.parametrize(
    ("interval", "p_value", "word"),
    [
        ((0.01, 0.05), 0.01, BETTER),
        ((-0.01, 0.05), 0.04, SAME),
        ((0.01, 0.05), 0.06, SAME),
        ((-0.05, -0.01), 0.01, WORSE),
        ((0.01, 0.05), 1 - CONFIDENCE, SAME),
        ((0.0, 0.05), 0.01, SAME),
        ((-0.05, 0.0), 0.01, SAME),
    ],
)
def test_a_verdict_needs_the_interval_and_the_p_value(interval, p_value, word) -> None:
    comparison = Comparison(sum(interval) / 2, interval, p_value)
    assert verdict_word(comparison) == word
    verdict = verdict_on_final(comparison, "t0001 at step 8", 412, "incumbent")
    assert (verdict.word, verdict.as_dict()["against"]) == (word, "incumbent")
    assert ("keep the incumbent" in verdict.sentence) == (word != BETTER)


def test_a_verdict_in_words() -> None:
    verdict = verdict_on_final(
        Comparison(0.0312, (0.01, 0.0525), 0.0004), "t0001 at step 8", 412, "reference"
    )
    assert verdict.sentence == (
        "t0001 at step 8 is better than the reference: +3.1 points on 412 final pairs, "
        "95 % interval +1.0 to +5.2, p < 0.001"
    )
    third = verdict_on_final(
        Comparison(0.03, (0.01, 0.05), 0.02), "t0001 at step 8", 412, "reference", 3
    )
    assert (third.word, third.comparison.p_value) == (SAME, pytest.approx(0.06))
    assert third.sentence.endswith("p = 0.060 for 3 openings of final")


def test_the_verdict_says_what_a_pair_needs_to_count_and_what_was_not_confirmed() -> None:
    comparison = Comparison(0.0312, (0.01, 0.0525), 0.0004)
    end = "; a pair counts where its odds moved by more than 0.1 nats"
    for confirmed in (None, True):
        verdict = verdict_on_final(
            comparison, "t0001 at step 8", 412, "reference", threshold=0.1, confirmed=confirmed
        )
        assert verdict.sentence.endswith(f"p < 0.001{end}")
    verdict = verdict_on_final(
        comparison, "t0001 at step 8", 412, "reference", threshold=0.1, confirmed=False
    )
    assert verdict.sentence.endswith(
        f"{end}; it is unconfirmed, as none of the points that were trained again can win"
    )


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (None, "on 40 final pairs, 95 %"),
        (40, "on 40 final pairs, 95 %"),
        (30, "on 40 final pairs in 30 groups of near-duplicate prompts, 95 %"),
        (5, "in 5 groups of near-duplicate prompts (no 5 groups can show anything at 5 %), 95 %"),
    ],
)
def test_groups_are_named_where_they_are_fewer_than_pairs(groups, said) -> None:
    comparison = Comparison(0.3, (0.0, 0.5), 0.0625)
    verdict = verdict_on_final(comparison, "t0001 at step 8", 40, "reference", groups=groups)
    assert said in verdict.sentence


def candidate(moved: float, accuracy: float, *broken: str) -> Candidate:
    checks = {name: Check(9.0, 1.0, False, "exclude") for name in broken}
    violations = {"moved": moved, "accuracy": accuracy}
    return Candidate("t0000", 8, 0, {}, np.ones(4), 0.0, 0.0, violations, checks)


@pytest.mark.parametrize(
    ("candidates", "sentence"),
    [
        (
            [candidate(0.2, -0.4), candidate(0.1, 0.1, "drift_chosen")],
            "no trial moved the model, so keep the reference: none of 2 candidates changed the odds "
            "of more than half of the select pairs by more than 0.1 nats; raise the learning rates "
            "or training.max_steps",
        ),
        (
            [candidate(0.2, -0.4), candidate(-0.1, 0.1)],
            "no trial ranks held-out pairs better than the untouched model, so keep the reference: "
            "none of 1 candidate that moved it is right more often than wrong; try lower learning "
            "rates or more steps, and read what the audit says of the pairs",
        ),
        (
            [
                candidate(-0.2, -0.4, "drift_chosen", "repetition"),
                candidate(0.0, 0.0, "drift_chosen"),
                candidate(0.2, -0.4),
            ],
            "none of 2 candidates that moved the model is admissible, so keep the reference; "
            "excluded by guardrails: drift_chosen 2, repetition 1",
        ),
        ([], "no trial was ever evaluated"),
    ],
)
def test_why_there_is_no_winner(candidates: list[Candidate], sentence: str) -> None:
    verdict = verdict_without_winner(candidates, 0.1, "reference")
    assert verdict.sentence == sentence
    assert (verdict.word, verdict.against, verdict.comparison) == (NOTHING, "reference", None)


@pytest.mark.parametrize(
    ("price", "end"), [(1.9, "decides, at 1.9 times the price of this one"), (None, "decides")]
)
def test_a_threshold_that_noise_sets_is_no_learning_rate_that_is_too_low(
    price: float | None, end: str
) -> None:
    raised = RaisedThreshold(0.1, 0.44, "bfloat16", 1, price)
    everyone = [candidate(0.2, -0.4), candidate(0.1, 0.1)]
    verdict = verdict_without_winner(everyone, 1.32, "reference", raised)
    assert verdict.sentence == (
        "no trial surely moved the model, so keep the reference: the noise of bfloat16, 0.44 nats a "
        "margin, sets the threshold to 1.32 nats. Of 2 candidates, 1 would count at the 0.1 nats of "
        "selection.min_margin, and noise alone may do that; a new sweep with "
        f"selection.score_dtype=float32 {end}"
    )
    none = replace(raised, undecided=0)
    verdict = verdict_without_winner(everyone, 1.32, "reference", none)
    assert "raise the learning rates" in verdict.sentence


def test_only_what_is_better_is_called_a_winner() -> None:
    words = (BETTER, SAME, WORSE, NOTHING, None)
    assert [role_of_choice(word) for word in words] == ["winner", *["selected checkpoint"] * 4]


def test_a_verdict_as_selection_json_holds_it() -> None:
    verdict = verdict_on_final(
        Comparison(0.03, (0.01, 0.05), 0.02), "t0001 at step 8", 412, "reference"
    )
    assert verdict.as_dict() == {
        "word": "better",
        "sentence": verdict.sentence,
        "against": "reference",
        "difference": 0.03,
        "interval": [0.01, 0.05],
        "p_value": 0.02,
    }


@pytest.mark.parametrize(
    ("p_value", "openings", "end"),
    [
        (0.001, 1, "p = 0.001"),
        (0.0009, 1, "p < 0.001"),
        (0.01, 2, "p = 0.020 for 2 openings of final"),
        (0.7, 2, "p = 1.000 for 2 openings of final"),
    ],
)
def test_the_p_value_in_words(p_value: float, openings: int, end: str) -> None:
    comparison = Comparison(0.03, (0.01, 0.05), p_value)
    verdict = verdict_on_final(comparison, "t0001 at step 8", 412, "reference", openings)
    assert verdict.sentence.endswith(f"+5.0, {end}")


def test_an_opening_beyond_those_declared_has_numbers_and_no_verdict() -> None:
    comparison = Comparison(0.03, (0.01, 0.05), 0.001)
    within, beyond = (
        verdict_on_final(comparison, "t0001 at step 8", 412, "reference", 3, number)
        for number in (3, 4)
    )
    assert within.word == "better"
    assert beyond.word == "no verdict"
    assert beyond.comparison == within.comparison
    assert beyond.sentence.startswith(
        "there is no verdict on t0001 at step 8, so keep the reference: this is opening 4 of final "
        "pairs that were declared for 3, "
    )
    assert "(+3.0 points on 412 final pairs, " in beyond.sentence


def test_without_an_evaluation_there_is_nothing_to_exclude() -> None:
    verdict = verdict_without_winner([], 0.1, "incumbent")
    assert verdict.as_dict() == {
        "word": "no admissible candidate",
        "sentence": "no trial was ever evaluated",
        "against": "incumbent",
        "difference": None,
        "interval": None,
        "p_value": None,
    }
