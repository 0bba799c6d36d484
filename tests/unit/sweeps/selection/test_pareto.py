"""The front of accuracy against drift: complete, undominated, whatever the order."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sweeps.selection.pareto import pareto_front, pareto_rows
from sweeps.selection.rule import Candidate


def candidate(trial: str, correct: int, drift: float, step: int = 4) -> Candidate:
    """Of ten pairs."""
    return Candidate(trial, step, 0, {}, (np.arange(10) < correct).astype(float), 0.0, drift)


def test_by_hand() -> None:
    rows = pareto_rows(
        [
            candidate("t0000", 6, 0.1),
            candidate("t0001", 8, 0.4),
            candidate("t0002", 7, 0.4),  # as far as t0001 and less accurate
            candidate("t0003", 6, 0.2),  # as accurate as t0000 and farther
            candidate("t0004", 5, 0.0),
            candidate("t0005", 8, 0.4, step=8),  # t0001 was there earlier
        ]
    )
    assert rows == [
        {"trial": "t0001", "step": 4, "accuracy": 0.8, "drift": 0.4},
        {"trial": "t0000", "step": 4, "accuracy": 0.6, "drift": 0.1},
        {"trial": "t0004", "step": 4, "accuracy": 0.5, "drift": 0.0},
    ]
    assert pareto_rows([]) == []


few = st.integers(0, 4).map(lambda n: n / 4)  # so that ties are common
points = st.lists(st.tuples(few | st.floats(0, 1), few | st.floats(0, 5)), max_size=12)


def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """At least as good in both, accuracy and drift, and better in one."""
    return one != other and one[0] >= other[0] and one[1] <= other[1]


@given(points, st.randoms(use_true_random=False))
def test_the_front_is_what_nobody_beats(pool: list[tuple[float, float]], random: Any) -> None:
    front = pareto_front(random.sample(pool, len(pool)), lambda point: point)
    assert front == pareto_front(pool, lambda point: point)
    assert set(front) == {p for p in pool if not any(beats(other, p) for other in pool)}
    assert len(set(front)) == len(front)
    assert front == sorted(front, reverse=True)
