"""The rule that chooses among candidates: a pure function of their scores, whatever their order.

Only candidates that moved the model and that guardrails admit can win. The most accurate of them is
not simply the winner, because accuracy saturates while a model collapses: among those within a fifth
of a paired standard error of it, or within one pair where that is more, the winner is the one whose
held-out chosen answers gained most in log-prob; then the earlier step. A wider band costs accuracy,
because what gained most did least: `python -m tests.bench --only choice` compares both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from dpo_core.evaluation.outcomes import Floats
from sweeps.run_dir.paths import CheckpointKey
from sweeps.selection.eligibility import GUARDRAILS
from sweeps.selection.guardrails import Check, guardrail_violation
from sweeps.selection.ordering import preference_key, ranked
from sweeps.selection.statistics import Groups, standard_errors

BAND = 0.2
"""Paired standard errors below the most accurate candidate within which others may win."""
BAND_PAIRS = 1.0
"""Pairs below it within which others may win in any case: one pair tells no two policies apart.

On few pairs that costs true accuracy: in the simulation half a point on 38 pairs, 0.4 on 100, where
half a pair costs 0 and 0.1. But the recorded trial that collapses gains one pair of 38 as it
begins to, between steps 10 and 20.
"""
_ROUNDING = 1e-12  # so that a gap of exactly the band counts as within it


@dataclass(frozen=True, eq=False)
class Candidate:
    """An evaluated checkpoint: one point of the search space at one step of its training.

    Scores and drift are those of one training run, or means over several runs of the point.
    """

    trial: str
    step: int
    seed: int
    point: Mapping[str, Any]
    scores: Floats
    """(pairs,) of the select split, by the pairs' ids: 1 right, ½ a tie, 0 wrong; or means of it."""
    chosen_gain: float
    """What held-out chosen answers gained, ΣΔ_w / Σ|y_w|: nats per token."""
    drift: float
    """Drift of chosen or rejected answers, whichever moved more: nats per token, never negative."""
    violations: Mapping[str, float] = field(default_factory=dict)
    """What the candidate lacks to be eligible, by name, where the number is above 0."""
    checks: Mapping[str, Check] = field(default_factory=dict)
    """One check for each guardrail, by its name."""

    @property
    def checkpoint(self) -> CheckpointKey:
        """Return the trial and the step."""
        return self.trial, self.step

    @property
    def name(self) -> str:
        """Return the checkpoint's name for readers."""
        return f"{self.trial} at step {self.step}"

    @cached_property
    def accuracy(self) -> float:
        """Return the mean score, in [0, 1]."""
        return float(self.scores.mean())

    @property
    def admissible(self) -> bool:
        """Return whether no guardrail excludes the candidate."""
        return not any(check.excludes for check in self.checks.values())

    @property
    def all_violations(self) -> dict[str, float]:
        """Return what keeps the candidate from winning: also how far it is over a guardrail's limit."""
        return {**self.violations, GUARDRAILS: guardrail_violation(self.checks)}

    @property
    def eligible(self) -> bool:
        """Return whether the candidate moved the model, in the direction that people prefer."""
        return all(number <= 0 for number in self.violations.values())

    @property
    def can_win(self) -> bool:
        """Return whether the candidate is eligible and admissible."""
        return self.eligible and self.admissible


@dataclass(frozen=True)
class Choice:
    """The result of the rule; empty when no candidate can win."""

    winner: Candidate | None
    shortlist: tuple[Candidate, ...]
    """The candidates among which the gain of chosen answers decided, the most accurate first."""

    @property
    def best(self) -> Candidate | None:
        """Return the most accurate candidate that can win."""
        return self.shortlist[0] if self.shortlist else None


def choose(candidates: Iterable[Candidate], groups: Groups) -> Choice:
    """Choose among the candidates that are eligible and that guardrails admit.

    A candidate that is as accurate as a shortlisted one is shortlisted too. So the winner always lies
    on the Pareto front of accuracy and the gain of chosen answers; `can_still_win` relies on that.
    """
    pool = ranked(c for c in candidates if c.can_win)
    if not pool:
        return Choice(None, ())
    scores = _stacked(pool)
    accuracies = scores.mean(axis=1)
    errors = standard_errors(scores[0] - scores, groups)
    errors[~np.isfinite(errors)] = 0.0  # one group alone has no standard error
    within = accuracies[0] - accuracies <= _band(errors, scores.shape[1])
    lowest = accuracies[within].min()
    shortlist = tuple(c for c, a in zip(pool, accuracies, strict=True) if a >= lowest)
    return Choice(min(shortlist, key=preference_key), shortlist)


def runner_up(choice: Choice, candidates: Iterable[Candidate], groups: Groups) -> Candidate | None:
    """Choose by the same rule among the candidates of other trials than the winner's.

    Args:
        choice: The choice among all candidates.
        candidates: The same candidates.
        groups: Prompt groups of the select split.

    Returns:
        The second choice; None without a winner or without another candidate that can win.
    """
    if choice.winner is None:
        return None
    trial = choice.winner.trial
    return choose((c for c in candidates if c.trial != trial), groups).winner


def can_still_win(
    candidates: Iterable[Candidate], groups: Groups, spares: int
) -> set[CheckpointKey]:
    """Return the checkpoints that a sweep must keep because they may win in the end.

    A candidate may win when more candidates come, if it can still be within the band below a later
    maximum. That maximum is no lower than today's, and no paired standard error is larger than the
    sum of both single ones, of which the other's is at most that of a fair coin for each group.

    Args:
        candidates: All candidates so far.
        groups: Prompt groups of the select split.
        spares: How many candidates to keep that would win now, one after the other, if the generated
            answers of the ones before exclude them.

    Returns:
        Trial and step of each.
    """
    pool = ranked(c for c in candidates if c.can_win)
    if not pool:
        return set()
    coin = 0.5 * float(np.sqrt((groups.sizes**2).sum())) / len(groups.codes)
    errors = standard_errors(_stacked(pool), groups)
    errors[~np.isfinite(errors)] = 0.0
    reach = [
        c
        for c, e in zip(pool, errors, strict=True)
        if pool[0].accuracy - c.accuracy <= _band(coin + e, len(groups.codes))
    ]
    return {c.checkpoint for c in (*_front(reach), *_next_choices(pool, groups, spares))}


def _front(pool: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates without an equally accurate or better one that is preferred to them.

    `pool` is ranked.
    """
    front: list[Candidate] = []
    for candidate in pool:
        if not front or preference_key(candidate) < preference_key(front[-1]):
            front.append(candidate)
    return front


def _next_choices(pool: Sequence[Candidate], groups: Groups, count: int) -> list[Candidate]:
    """Return the first `count` winners, each chosen without the winners before it."""
    winners: list[Candidate] = []
    rest = list(pool)
    while rest and len(winners) < count:
        winner = choose(rest, groups).winner
        assert winner is not None
        winners.append(winner)
        rest.remove(winner)
    return winners


def _band(errors: Floats, pairs: int) -> Floats:
    """Return by how much accuracy may be lower, for each of the paired standard errors."""
    band: Floats = np.maximum(BAND * errors, BAND_PAIRS / pairs) + _ROUNDING
    return band


def _stacked(candidates: Sequence[Candidate]) -> Floats:
    return np.stack([c.scores for c in candidates])
