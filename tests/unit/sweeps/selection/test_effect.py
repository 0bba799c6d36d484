"""What a policy did to held-out pairs, in numbers and in words."""

from __future__ import annotations

import json
import math

import pytest

from dpo_core.evaluation.outcomes import Outcomes
from sweeps.selection.effect import effect_sentences, measure_effect, odds_factor
from tests.support.records import outcomes

# Margins of the five pairs: 3, 1, 1, 0 and −4 nats.


def test_the_numbers_by_hand() -> None:
    effect = measure_effect(
        outcomes(), 1.0, held_out_loss=0.7, reference_loss=0.8, answers_differ=0.25
    )
    assert effect.as_dict() == {
        "pairs": 5,
        "moved": 0.4,  # 3 and −4 are beyond one nat
        "median_margin": 1.0,
        "mean_margin": pytest.approx(0.2),
        "chosen_gain": pytest.approx(-1 / 20),  # 2 + 3 − 1 − 1 − 4 nats in 20 tokens
        "rejected_gain": pytest.approx(-2 / 16),  # −1 + 2 − 2 − 1 + 0 nats in 16 tokens
        # log π: 5, −5, 2, 0, −5 nats; the untouched model: 2, −6, 1, 0, −1
        "order_changed": 0.0,
        "held_out_loss": 0.7,
        "reference_loss": 0.8,
        "answers_differ": 0.25,
    }
    json.dumps(effect.as_dict(), allow_nan=False)


def test_the_untouched_model_did_nothing() -> None:
    effect = measure_effect(outcomes().as_reference, 0.1)
    assert (effect.moved, effect.mean_margin, effect.order_changed) == (0.0, 0.0, 0.0)


def test_a_changed_order_is_one_that_the_untouched_model_did_not_have() -> None:
    same = outcomes()
    turned = Outcomes(
        same.ids,
        same.chosen_logp,
        same.rejected_logp,
        same.rejected_logp,
        same.chosen_logp,
        same.chosen_tokens,
        same.rejected_tokens,
    )
    assert measure_effect(turned, 0.1).order_changed == 0.8  # of the fourth both are equal


LOST = (
    "chosen answers lost 0.050 nats a token: the policy writes the preferred answers less readily "
    "than the untouched model does"
)
BECAUSE = ", and ranks them higher because rejected ones lost more"


def test_what_chosen_answers_lost_and_a_loss_above_the_references_are_said_in_words() -> None:
    effect = measure_effect(outcomes(), 1.0, 0.713, 0.693, 0.25).as_dict()
    assert list(effect_sentences(effect)) == [
        "the odds of the preferred answer grew 2.72-fold in the median pair, and the mean margin is "
        "+0.20 nats; 0 % of pairs changed their order of likelihood",
        LOST + BECAUSE,
        "the held-out loss at the trial's own beta is 0.713, above the 0.693 of the untouched "
        "model: where the policy is wrong, it is wrong by much",
        "25 % of sampled answers differ from the untouched model's",
    ]


@pytest.mark.parametrize("reference", [1.313, None])
def test_a_loss_is_compared_with_the_references_own(reference: float | None) -> None:
    """That of a loss with a target margin is far above ln 2; earlier versions did not store it."""
    effect = measure_effect(outcomes(), 1.0, 0.9, reference).as_dict()
    assert not any("loss" in sentence for sentence in effect_sentences(effect))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rejected_gain": 0.1}, f"{LOST}; rejected answers gained 0.100 nats a token"),
        (
            {"median_margin": -1.0, "rejected_gain": -0.01},
            f"{LOST}; rejected answers lost 0.010 nats a token",
        ),
        ({"mean_margin": -0.2}, f"{LOST}; rejected answers lost 0.125 nats a token"),
        ({}, LOST + BECAUSE),
    ],
)
def test_rejected_answers_are_the_reason_only_where_they_are(
    changes: dict[str, float], sentence: str
) -> None:
    effect = measure_effect(outcomes(), 1.0).as_dict() | changes
    assert list(effect_sentences(effect))[1] == sentence


@pytest.mark.parametrize(
    ("nats", "words"),
    [(0.0, "changed by less than 0.5 %"), (0.01, "grew 1.01-fold"), (-1.0, "shrank 2.72-fold")],
)
def test_odds_that_did_not_change_did_not_grow(nats: float, words: str) -> None:
    effect = {**measure_effect(outcomes(), 1.0).as_dict(), "median_margin": nats}
    told = next(effect_sentences(effect))
    assert told.startswith(f"the odds of the preferred answer {words} in the median pair")


def test_what_gained_is_said_shortly() -> None:
    better = measure_effect(outcomes(), 1.0, 0.5, 0.693)
    told = list(effect_sentences({**better.as_dict(), "chosen_gain": 0.0421}))
    assert told[1:] == ["chosen answers gained 0.042 nats a token"]


@pytest.mark.parametrize(
    ("nats", "words"),
    [
        (math.log(3), "3-fold"),
        (-math.log(3), "3-fold"),
        (800.0, "more than 1,000-fold"),
        (math.nan, "more than 1,000-fold"),
    ],
)
def test_factors_in_words(nats: float, words: str) -> None:
    assert odds_factor(nats) == words
