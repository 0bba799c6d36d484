"""DPO's known failures as numbers, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dpo_core.evaluation.failure_modes import (
    drift_and_displacement,
    largest_drift,
    loops,
)
from dpo_core.evaluation.outcomes import Outcomes


def scored(gains: list[tuple[float, float]], tokens: list[tuple[int, int]]) -> Outcomes:
    """Outcomes with these Δ_w and Δ_l, over a reference of −20 nats everywhere."""
    reference = np.full(len(gains), -20.0)
    chosen, rejected = (np.array(c, dtype=np.float64) for c in zip(*gains, strict=True))
    lengths = [np.array(c, dtype=np.int64) for c in zip(*tokens, strict=True)]
    ids = tuple(map(str, range(len(gains))))
    return Outcomes(ids, reference + chosen, reference + rejected, reference, reference, *lengths)


# Δ_w, Δ_l:         margin
GAINS = [
    (-2.0, -6.0),  #    4   grew, and chosen fell: displaced
    (1.0, -1.0),  #     2   grew, chosen rose
    (-3.0, 0.0),  #    −3   fell
    (0.0, -1.0),  #     1   grew, chosen stayed
]
TOKENS = [(10, 4), (4, 4), (4, 8), (2, 4)]


def test_drift_and_displacement_by_hand() -> None:
    assert drift_and_displacement(scored(GAINS, TOKENS)) == {
        "drift_chosen": pytest.approx(-4 / 20),  # (−2 + 1 − 3 + 0) / (10 + 4 + 4 + 2)
        "drift_rejected": pytest.approx(-8 / 20),  # (−6 − 1 + 0 − 1) / (4 + 4 + 8 + 4)
        "distance_chosen": pytest.approx(6 / 20),  # (2 + 1 + 3 + 0) / 20
        "distance_rejected": pytest.approx(8 / 20),  # (6 + 1 + 0 + 1) / 20
        "displaced": 0.25,
        "mean_margin": pytest.approx(1.0),  # (4 + 2 − 3 + 1) / 4
    }


def test_an_untouched_policy_has_not_drifted() -> None:
    assert drift_and_displacement(scored(GAINS, TOKENS).as_reference) == {
        "drift_chosen": 0.0,
        "drift_rejected": 0.0,
        "distance_chosen": 0.0,
        "distance_rejected": 0.0,
        "displaced": 0.0,
        "mean_margin": 0.0,
    }


def test_float_noise_is_no_displacement() -> None:
    # The margin grew by 6e-5 nats while the chosen answer fell by 3e-5: both below a tie.
    assert drift_and_displacement(scored([(-3e-5, -9e-5)], [(3, 3)]))["displaced"] == 0.0


@pytest.mark.parametrize(
    ("gains", "displaced"),
    [
        ((-1.0, -1.5), 0.0),  # the margin is 0.5, a tie
        ((-0.5, -2.0), 0.0),  # the chosen answer fell by 0.5, a tie
        ((-1.0, -2.0), 1.0),
    ],
)
def test_a_difference_of_just_a_tie_is_no_displacement(
    gains: tuple[float, float], displaced: float
) -> None:
    outcomes = replace(scored([gains], [(3, 3)]), tie_nats=0.5)
    assert drift_and_displacement(outcomes)["displaced"] == displaced


def test_drift_is_divided_by_a_single_token_and_not_by_none() -> None:
    assert drift_and_displacement(scored([(-3.0, 2.0)], [(1, 1)])) == {
        "drift_chosen": -3.0,
        "drift_rejected": 2.0,
        "distance_chosen": 3.0,
        "distance_rejected": 2.0,
        "displaced": 0.0,
        "mean_margin": -5.0,
    }
    assert drift_and_displacement(scored([(-3.0, 2.0)], [(0, 0)]))["drift_chosen"] == -3.0


def test_answers_that_move_both_ways_have_moved() -> None:
    health = drift_and_displacement(scored([(30.0, -3.0), (-30.0, 3.0)], [(10, 10), (10, 10)]))
    assert health["drift_chosen"] == health["drift_rejected"] == 0.0
    assert (health["distance_chosen"], health["distance_rejected"]) == (3.0, 0.3)
    assert largest_drift(health) == 3.0


@pytest.mark.parametrize(
    ("chosen", "rejected", "largest"), [(0.3, 0.2, 0.3), (0.1, 0.4, 0.4), (0.5, 0.5, 0.5)]
)
def test_the_largest_drift_has_no_sign(chosen: float, rejected: float, largest: float) -> None:
    health = {"distance_chosen": chosen, "distance_rejected": rejected}
    assert largest_drift(health) == largest


@pytest.mark.parametrize(
    ("chosen", "rejected", "largest"), [(-0.3, 0.2, 0.3), (0.1, -0.4, 0.4), (-0.1, 0.2, 0.2)]
)
def test_an_earlier_record_has_signed_drifts_alone(
    chosen: float, rejected: float, largest: float
) -> None:
    assert largest_drift({"drift_chosen": chosen, "drift_rejected": rejected}) == largest


PHRASE = [5, 6, 7, 8, 9, 10, 11, 12]
VARIED = list(range(100, 200))


@pytest.mark.parametrize(
    ("tokens", "is_loop"),
    [
        (VARIED, False),
        (VARIED + PHRASE * 8, True),  # the tail repeats
        (PHRASE * 8, True),  # nothing but the loop
        ([7] * 64, True),
        (PHRASE * 8 + VARIED, False),  # it left the loop
        (VARIED + PHRASE * 2, False),  # a phrase comes twice
        (PHRASE + VARIED + PHRASE, False),
        (VARIED[:50] * 2, True),  # the whole answer again
        (PHRASE[:3], False),  # too short to repeat anything
        ([], True),  # an empty answer is no better than a loop
    ],
)
def test_an_answer_loops_when_its_tail_repeats(tokens: list[int], is_loop: bool) -> None:
    assert loops(tokens) is is_loop
