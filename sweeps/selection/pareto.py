"""Accuracy against drift: what nothing else beats in both. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from sweeps.selection.ordering import ranked
from sweeps.selection.rule import Candidate

T = TypeVar("T")


def pareto_front(items: Iterable[T], of: Callable[[T], tuple[float, float]]) -> list[T]:
    """Most accurate first, each drifting less than the one before; of equal ones the first given.

    `of` tells an item's accuracy and its drift.
    """
    front: list[T] = []
    least = math.inf
    for item in sorted(items, key=lambda each: (-of(each)[0], of(each)[1])):
        if of(item)[1] < least:
            front.append(item)
            least = of(item)[1]
    return front


def pareto_rows(candidates: Iterable[Candidate]) -> list[dict[str, Any]]:
    """The front as selection.json tells it. Drift in nats per token."""
    front = pareto_front(ranked(candidates), lambda c: (c.accuracy, c.drift))
    return [
        {"trial": c.trial, "step": c.step, "accuracy": c.accuracy, "drift": c.drift} for c in front
    ]
