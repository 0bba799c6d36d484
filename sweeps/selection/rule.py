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
from sweeps.run_dir.paths import CheckpointKey
from sweeps.selection.guardrails import Check
from sweeps.selection.ordering import preference_key, ranked
from sweeps.selection.statistics import Groups, standard_errors

_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Candidate:
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
    def checkpoint(self) -> CheckpointKey:
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

    winner: Candidate | None
    shortlist: tuple[Candidate, ...]

    @property
    def best(self) -> Candidate | None:
        """The most accurate admissible one."""
        return self.shortlist[0] if self.shortlist else None


def choose(candidates: Iterable[Candidate], groups: Groups) -> Choice:
    """The one-standard-error rule over what guardrails admit.

    Whatever is as accurate as a shortlisted one is shortlisted, so that the winner always lies on
    the front of accuracy against drift; `can_still_win` relies on that.
    """
    pool = ranked(c for c in candidates if c.admissible)
    if not pool:
        return Choice(None, ())
    scores = _stacked(pool)
    accuracies = scores.mean(axis=1)
    errors = standard_errors(scores[0] - scores, groups)
    errors[~np.isfinite(errors)] = 0.0  # a single group tells nothing about spread
    within = accuracies[0] - accuracies <= errors + _ROUNDING
    lowest = accuracies[within].min()
    shortlist = tuple(c for c, a in zip(pool, accuracies, strict=True) if a >= lowest)
    return Choice(min(shortlist, key=preference_key), shortlist)


def runner_up(choice: Choice, candidates: Iterable[Candidate], groups: Groups) -> Candidate | None:
    """What the same rule takes when the winner's trial is left out."""
    if choice.winner is None:
        return None
    trial = choice.winner.trial
    return choose((c for c in candidates if c.trial != trial), groups).winner


def can_still_win(
    candidates: Iterable[Candidate], groups: Groups, spares: int
) -> set[CheckpointKey]:
    """Places that `choose` may yet take when more candidates come, and the next `spares` it would
    take now, one after the other, should the answers of the earlier ones rule them out.

    A later maximum is no lower than this one, and no paired standard error is larger than both
    single ones together. The other's is bounded by that of a fair coin a group.
    """
    pool = ranked(c for c in candidates if c.admissible)
    if not pool:
        return set()
    coin = 0.5 * float(np.sqrt((groups.sizes**2).sum())) / len(groups.codes)
    errors = standard_errors(_stacked(pool), groups)
    errors[~np.isfinite(errors)] = 0.0
    reach = [
        c for c, e in zip(pool, errors, strict=True) if pool[0].accuracy - c.accuracy <= coin + e
    ]
    return {c.checkpoint for c in (*_front(reach), *_next_choices(pool, groups, spares))}


def _front(pool: Sequence[Candidate]) -> list[Candidate]:
    """Those that no other matches in accuracy and is preferred to; `pool` is ranked."""
    front: list[Candidate] = []
    for candidate in pool:
        if not front or preference_key(candidate) < preference_key(front[-1]):
            front.append(candidate)
    return front


def _next_choices(pool: Sequence[Candidate], groups: Groups, count: int) -> list[Candidate]:
    taken: list[Candidate] = []
    rest = list(pool)
    while rest and len(taken) < count:
        winner = choose(rest, groups).winner
        assert winner is not None
        taken.append(winner)
        rest.remove(winner)
    return taken


def _stacked(candidates: Sequence[Candidate]) -> Floats:
    return np.stack([c.scores for c in candidates])
