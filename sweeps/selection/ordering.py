"""The order of evaluated checkpoints, best first; nothing else in the project ranks checkpoints.

The order decides what Optuna learns of a trial, what a worker reports as its best so far, which
checkpoint a row of the leaderboard shows, what the terminal prints as the best so far, and from
which ranking `rule.choose` starts. The module imports neither torch, ray nor optuna.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from dpo_core.evaluation.failure_modes import drift_and_displacement, largest_drift
from dpo_core.evaluation.outcomes import Outcomes
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
    def drift(self) -> float:
        """Return the drift from the reference in nats per token, never negative."""


EvaluatedT = TypeVar("EvaluatedT", bound=Evaluated)


@dataclass(frozen=True)
class ScoredCheckpoint:
    """The numbers of one checkpoint by which it is ranked."""

    trial: str
    step: int
    accuracy: float
    drift: float

    @classmethod
    def from_outcomes(
        cls, trial: str, step: int, outcomes: Outcomes, objective: str
    ) -> ScoredCheckpoint:
        """Compute the numbers of a checkpoint from its outcomes on the select split.

        Args:
            trial: Name of the trial.
            step: Optimizer step of the checkpoint.
            outcomes: Outcomes of every pair of the split.
            objective: Name of the accuracy that the sweep maximizes.

        Returns:
            The checkpoint with its accuracy and its larger drift, of chosen or rejected answers.
        """
        drift = largest_drift(drift_and_displacement(outcomes))
        return cls(trial, step, outcomes.count(objective).accuracy, drift)


def preference_key(checkpoint: Evaluated) -> tuple[float, int, str]:
    """Return the key that orders equally accurate checkpoints, the preferred one first.

    Args:
        checkpoint: An evaluated checkpoint.

    Returns:
        Its drift, step and trial: less drift is preferred, then the earlier step; the trial's name
        makes no two keys equal.
    """
    return checkpoint.drift, checkpoint.step, checkpoint.trial


def rank_key(checkpoint: Evaluated) -> tuple[float, float, int, str]:
    """Return the key that orders all checkpoints, the best first.

    Args:
        checkpoint: An evaluated checkpoint.

    Returns:
        Its accuracy, negated; then its preference key.
    """
    return -checkpoint.accuracy, *preference_key(checkpoint)


def ranked(checkpoints: Iterable[EvaluatedT]) -> list[EvaluatedT]:
    """Return the checkpoints, best first, whatever their order."""
    return sorted(checkpoints, key=rank_key)


def best_of(checkpoints: Iterable[EvaluatedT]) -> EvaluatedT | None:
    """Return the best checkpoint; None when there is none."""
    return min(checkpoints, key=rank_key, default=None)


def best_so_far(best: EvaluatedT | None, checkpoint: EvaluatedT) -> EvaluatedT:
    """Return the better of a new checkpoint and of the best before it, if there was one."""
    return checkpoint if best is None else min(best, checkpoint, key=rank_key)


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
    accuracy = evaluation.accuracy(objective)
    return ScoredCheckpoint(record.trial, evaluation.step, accuracy, evaluation.drift)
