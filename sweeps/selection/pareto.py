"""The Pareto front of accuracy against drift: what no other checkpoint beats in both."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TypedDict, TypeVar

from sweeps.selection.ordering import ranked
from sweeps.selection.rule import Candidate

T = TypeVar("T")


class FrontJson(TypedDict):
    """A checkpoint on the front; accuracy in [0, 1], drift in nats per token."""

    trial: str
    step: int
    accuracy: float
    drift: float


def pareto_front(items: Iterable[T], numbers: Callable[[T], tuple[float, float]]) -> list[T]:
    """Return the items that no other item beats in both numbers.

    Args:
        items: What is compared, in any order; of items with equal numbers the first is taken.
        numbers: Returns an item's accuracy and its drift.

    Returns:
        The front, the most accurate first, each item drifting less than the one before.
    """
    front: list[T] = []
    least_drift = math.inf
    for item in sorted(items, key=lambda each: (-numbers(each)[0], numbers(each)[1])):
        if numbers(item)[1] < least_drift:
            front.append(item)
            least_drift = numbers(item)[1]
    return front


def pareto_rows(candidates: Iterable[Candidate]) -> list[FrontJson]:
    """Return the front as selection.json holds it, the most accurate first."""
    front = pareto_front(ranked(candidates), lambda c: (c.accuracy, c.drift))
    return [
        {"trial": c.trial, "step": c.step, "accuracy": c.accuracy, "drift": c.drift} for c in front
    ]
