"""The order of evaluated checkpoints, best first; nothing else in the project ranks checkpoints.

The order decides what Optuna learns of a trial, which trials ASHA stops, what a worker reports as its
best so far, which checkpoint a row of the leaderboard shows, what the terminal prints as the best so
far, and from which ranking `rule.choose` starts. The module imports neither torch, ray nor optuna.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from sweeps.run_dir.ledger import EvaluationRecord, TrialRecord


class Evaluated(Protocol):
    """An evaluated checkpoint, as far as its place in the order depends on it."""

    @property
    def trial(self) -> str:
        """Return the name of the trial."""

    @property
    def step(self) -> int:
        """Return the optimizer step at which it was evaluated."""

    @property
    def accuracy(self) -> float:
        """Return the accuracy by the sweep's objective on the select split, in [0, 1]."""

    @property
    def can_win(self) -> bool:
        """Return whether it moved the model enough and no guardrail excludes it."""

    @property
    def chosen_gain(self) -> float:
        """Return what held-out chosen answers gained in log-prob, in nats per token."""


EARLY_STOPPING_SCORE = "early_stopping_score"
"""Name of the number by which trials are stopped early; see `early_stopping_score`."""
EvaluatedT = TypeVar("EvaluatedT", bound=Evaluated)


@dataclass(frozen=True)
class ScoredCheckpoint:
    """The numbers of one checkpoint by which it is ranked."""

    trial: str
    step: int
    accuracy: float
    chosen_gain: float
    drift: float
    violations: Mapping[str, float] = field(default_factory=dict)
    """What keeps the checkpoint from winning, by name, where the number is above 0."""

    @property
    def can_win(self) -> bool:
        """Return whether nothing keeps the checkpoint from winning."""
        return all(number <= 0 for number in self.violations.values())


def preference_key(checkpoint: Evaluated) -> tuple[float, int, str]:
    """Return the key that orders equally accurate checkpoints, the preferred one first.

    Accuracy saturates while a model collapses into one answer for everything; what tells the two
    apart is the likelihood of the chosen answers themselves.

    Args:
        checkpoint: An evaluated checkpoint.

    Returns:
        What its chosen answers gained, negated, its step and its trial: a larger gain is preferred,
        then the earlier step; the trial's name makes no two keys equal.
    """
    return -checkpoint.chosen_gain, checkpoint.step, checkpoint.trial


def rank_key(checkpoint: Evaluated) -> tuple[bool, float, float, int, str]:
    """Return the key that orders all checkpoints, the best first.

    Args:
        checkpoint: An evaluated checkpoint.

    Returns:
        Whether something keeps it from winning; its accuracy, negated; then its preference key.
    """
    return not checkpoint.can_win, -checkpoint.accuracy, *preference_key(checkpoint)


def ranked(checkpoints: Iterable[EvaluatedT]) -> list[EvaluatedT]:
    """Return the checkpoints, best first, whatever their order."""
    return sorted(checkpoints, key=rank_key)


def best_of(checkpoints: Iterable[EvaluatedT]) -> EvaluatedT | None:
    """Return the best checkpoint; None when there is none."""
    return min(checkpoints, key=rank_key, default=None)


def best_so_far(best: EvaluatedT | None, checkpoint: EvaluatedT) -> EvaluatedT:
    """Return the better of a new checkpoint and of the best before it, if there was one."""
    return checkpoint if best is None else min(best, checkpoint, key=rank_key)


def early_stopping_score(accuracy: float, can_win: bool) -> float:
    """Return the number by which a trial is compared with others at the same step.

    Args:
        accuracy: Of the trial's best checkpoint so far, in [0, 1].
        can_win: Whether it can win.

    Returns:
        The accuracy, less 1 while it cannot win: below that of every checkpoint that can. Else
        trials that moved nothing, and look accurate by chance, would stop those that did.
    """
    return accuracy if can_win else accuracy - 1.0


def best_checkpoint(records: Iterable[TrialRecord], objective: str) -> ScoredCheckpoint | None:
    """Return the best evaluated checkpoint of all trials; None when nothing was evaluated."""
    return best_of(
        _scored(record, evaluation, objective)
        for record in records
        for evaluation in record.evaluations
    )


def best_evaluation(record: TrialRecord, objective: str) -> EvaluationRecord | None:
    """Return the evaluation of a trial's best checkpoint; None when it was never evaluated."""
    return min(
        record.evaluations,
        key=lambda evaluation: rank_key(_scored(record, evaluation, objective)),
        default=None,
    )


def best_accuracy(record: TrialRecord, objective: str) -> float | None:
    """Return the accuracy of a trial's best checkpoint, in [0, 1]; None without an evaluation."""
    best = best_evaluation(record, objective)
    return None if best is None else best.accuracy(objective)


def _scored(record: TrialRecord, evaluation: EvaluationRecord, objective: str) -> ScoredCheckpoint:
    return ScoredCheckpoint(
        record.trial,
        evaluation.step,
        evaluation.accuracy(objective),
        evaluation.chosen_gain,
        evaluation.drift,
        evaluation.violations,
    )
