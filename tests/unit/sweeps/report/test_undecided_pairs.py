"""Pairs within a threshold that noise has raised, and the price of float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dpo_core.evaluation.outcomes import Outcomes
from sweeps.report.undecided_pairs import undecided_pairs_sentence

HALF: Any = {
    "score_dtype": "bfloat16",
    "margin_noise": 0.5,
    "scoring_shares": {"bfloat16": 0.1, "float32": 0.4},
}


def with_margins(*margins: float) -> Outcomes:
    n = len(margins)
    lengths = np.full(n, 3)
    policy, zeros = np.array(margins), np.zeros(n)
    ids = tuple(f"p{i}" for i in range(n))
    return Outcomes(ids, policy, zeros, zeros, zeros, lengths, lengths)


def test_the_sentence_by_hand() -> None:
    """Three times 0.5 nats; of 1 − 0.1 and 1 − 0.4 the same training is left."""
    sentence = undecided_pairs_sentence(with_margins(0.2, -1.5, 1.6, 3.0), 0.1, HALF)
    assert sentence == (
        "2 of 4 pairs lie within τ = 1.5 nats, which the noise of bfloat16 sets (0.5 nats a margin). "
        "Scored in float32, those beyond 0.1 nats would be decided; selection.score_dtype=float32 "
        "makes such a sweep cost 1.5 times as much."
    )


@pytest.mark.parametrize(("within", "is_said"), [(1, False), (2, True)])
def test_more_than_a_tenth_of_the_pairs(within: int, is_said: bool) -> None:
    outcomes = with_margins(*[0.2] * within, *[9.0] * (10 - within))
    assert (undecided_pairs_sentence(outcomes, 0.1, HALF) is not None) is is_said


@pytest.mark.parametrize(
    ("min_margin", "prepared"),
    [
        (1.5, HALF),  # the user's own threshold, which float32 would not lower
        (0.0, HALF),  # eligibility is off
        (0.1, {**HALF, "score_dtype": "float32", "margin_noise": 0.0}),
        (0.1, {}),  # of an earlier version
    ],
)
def test_nothing_is_said_where_float32_decides_nothing(min_margin: float, prepared: Any) -> None:
    assert undecided_pairs_sentence(with_margins(0.0, 0.05), min_margin, prepared) is None


def test_a_price_that_is_not_known_is_left_out() -> None:
    sentence = undecided_pairs_sentence(with_margins(0.2, 0.3), 0.1, {**HALF, "scoring_shares": {}})
    assert str(sentence).endswith("would be decided (selection.score_dtype=float32).")
