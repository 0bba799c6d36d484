"""Accuracy against drift: the candidates that no other beats in both. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sweeps.records.choice import Contender, ranked


def pareto_front(contenders: Iterable[Contender]) -> list[Contender]:
    """Most accurate first, each drifting less than the one before; of equal ones the first only."""
    front: list[Contender] = []
    for contender in ranked(contenders):
        if not front or contender.drift < front[-1].drift:
            front.append(contender)
    return front


def pareto_rows(contenders: Iterable[Contender]) -> list[dict[str, Any]]:
    """The front as selection.json tells it. Drift in nats per token."""
    return [
        {"trial": c.trial, "step": c.step, "accuracy": c.accuracy, "drift": c.drift}
        for c in pareto_front(contenders)
    ]
