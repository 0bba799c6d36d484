"""The choice among candidates: a pure function of their scores, whatever their order.

The winner is not the maximum. Among those that one paired standard error does not tell from the
most accurate, it is the one that drifted least, then the earlier step: of many noisy scores the
highest is flattered, and drift costs what accuracy does not show.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from dpo_core.evaluation.outcomes import Floats
from sweeps.run_dir.paths import Place
from sweeps.selection.guardrails import Check
from sweeps.selection.statistics import Groups, standard_errors

_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Contender:
    """One point at one step, as one training run or the mean of several scored it."""

    trial: str
    step: int
    seed: int
    point: Mapping[str, Any]
    scores: Floats
    """(pairs,): 1 right, ½ a tie, 0 wrong; or the mean of that over seeds."""
    drift: float
    """Of chosen or rejected answers, whichever moved more: nats per token, never negative."""
    checks: Mapping[str, Check] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        return self.trial, self.step

    @property
    def name(self) -> str:
        return f"{self.trial} at step {self.step}"

    @cached_property
    def accuracy(self) -> float:
        return float(self.scores.mean())

    @property
    def admissible(self) -> bool:
        return not any(check.excludes for check in self.checks.values())


@dataclass(frozen=True)
class Choice:
    """`shortlist`: best first, the winner among them. Both empty when nothing is admissible."""

    winner: Contender | None
    shortlist: tuple[Contender, ...]

    @property
    def best(self) -> Contender | None:
        """The most accurate admissible one."""
        return self.shortlist[0] if self.shortlist else None


def ranked(contenders: Iterable[Contender]) -> list[Contender]:
    """Most accurate first; no two are ever equal."""
    return sorted(contenders, key=lambda c: (-c.accuracy, *_preference(c)))


def choose(contenders: Iterable[Contender], groups: Groups) -> Choice:
    """The one-standard-error rule over what guardrails admit.

    Whatever is as accurate as a shortlisted one is shortlisted, so that the winner always lies on
    the front of accuracy against drift; `can_still_win` relies on that.
    """
    pool = ranked(c for c in contenders if c.admissible)
    if not pool:
        return Choice(None, ())
    scores = _stacked(pool)
    accuracies = scores.mean(axis=1)
    errors = standard_errors(scores[0] - scores, groups)
    errors[~np.isfinite(errors)] = 0.0  # a single group tells nothing about spread
    within = accuracies[0] - accuracies <= errors + _ROUNDING
    lowest = accuracies[within].min()
    shortlist = tuple(c for c, a in zip(pool, accuracies, strict=True) if a >= lowest)
    return Choice(min(shortlist, key=_preference), shortlist)


def runner_up(choice: Choice, contenders: Iterable[Contender], groups: Groups) -> Contender | None:
    """What the same rule takes when the winner's trial is left out."""
    if choice.winner is None:
        return None
    trial = choice.winner.trial
    return choose((c for c in contenders if c.trial != trial), groups).winner


def can_still_win(contenders: Iterable[Contender], groups: Groups, spares: int) -> set[Place]:
    """Places that `choose` may yet take when more contenders come, and the next `spares` it would
    take now, one after the other, should the answers of the earlier ones rule them out.

    A later maximum is no lower than this one, and no paired standard error is larger than both
    single ones together. The other's is bounded by that of a fair coin a group.
    """
    pool = ranked(c for c in contenders if c.admissible)
    if not pool:
        return set()
    coin = 0.5 * float(np.sqrt((groups.sizes**2).sum())) / len(groups.codes)
    errors = standard_errors(_stacked(pool), groups)
    errors[~np.isfinite(errors)] = 0.0
    reach = [
        c for c, e in zip(pool, errors, strict=True) if pool[0].accuracy - c.accuracy <= coin + e
    ]
    return {c.place for c in (*_front(reach), *_next_choices(pool, groups, spares))}


def _front(pool: Sequence[Contender]) -> list[Contender]:
    """Those that no other matches in accuracy and is preferred to; `pool` is ranked."""
    front: list[Contender] = []
    for contender in pool:
        if not front or _preference(contender) < _preference(front[-1]):
            front.append(contender)
    return front


def _next_choices(pool: Sequence[Contender], groups: Groups, count: int) -> list[Contender]:
    taken: list[Contender] = []
    rest = list(pool)
    while rest and len(taken) < count:
        winner = choose(rest, groups).winner
        assert winner is not None
        taken.append(winner)
        rest.remove(winner)
    return taken


def _preference(contender: Contender) -> tuple[float, int, str]:
    return contender.drift, contender.step, contender.trial


def _stacked(contenders: Sequence[Contender]) -> Floats:
    return np.stack([c.scores for c in contenders])
