"""The leaderboard and the scores of a split, as selection.json and the reports show them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from dpo_core.evaluation.failure_modes import drift_and_displacement
from dpo_core.evaluation.outcomes import OBJECTIVES, Floats, Outcomes, label_slices, length_slices
from sweeps.run_dir.ledger import TrialRecord
from sweeps.run_dir.paths import SweepPaths
from sweeps.selection.ordering import best_checkpoint, best_evaluation, rank_key
from sweeps.selection.statistics import Groups, design_effect, wilson_interval

RowT = TypeVar("RowT", bound=Mapping[str, object])


def scores_by_id(outcomes: Outcomes, objective: str) -> Floats:
    """1 right, ½ a tie, 0 wrong, of each pair in the order of ids, so that policies line up."""
    order = np.argsort(np.array(outcomes.ids, dtype=str))
    scores: Floats = (outcomes.signs(objective)[order] + 1.0) / 2
    return scores


def scores(
    outcomes: Outcomes,
    objective: str,
    labels: Mapping[str, Mapping[str, str | None]] | None = None,
    groups: Groups | None = None,
) -> dict[str, Any]:
    """One split under one policy as selection.json tells it: counts and accuracy of the
    objective with a 95 % Wilson interval, all three accuracies, slices by length, source and
    category, health. `groups` of the pairs in the order of their ids widen the interval where
    pairs of one prompt go the same way."""
    count = outcomes.count(objective)
    effect = design_effect(scores_by_id(outcomes, objective), groups) if groups else 1.0
    return {
        "objective": objective,
        **count.as_dict(),
        "interval": list(wilson_interval(count, design_effect=effect)),
        **{name: outcomes.count(name).accuracy for name in OBJECTIVES},
        "length": length_slices(outcomes, objective),
        "by": label_slices(outcomes, objective, labels or {}),
        "health": drift_and_displacement(outcomes),
    }


def trial_rows(records: Sequence[TrialRecord], objective: str) -> list[dict[str, Any]]:
    """The leaderboard: best trial first, unevaluated ones last, each with its best checkpoint."""

    def position(record: TrialRecord) -> tuple[float, float, int, str]:
        best = best_checkpoint([record], objective)
        return rank_key(best) if best else (math.inf, 0.0, 0, record.trial)

    return [_row(record, objective) for record in sorted(records, key=position)]


def winner_first(rows: Sequence[RowT], winner: str | None) -> list[RowT]:
    """Return the rows of a leaderboard with that of the winner first, the others in their order.

    Args:
        rows: One row for each trial of the search.
        winner: Name of the winner's trial, which may be one that confirms a trial of the search.

    Returns:
        The same rows.
    """
    first = winner and searched_trial(winner)
    return sorted(rows, key=lambda row: row["trial"] != first)


def searched_trial(trial: str) -> str:
    """Return the trial of the search that stands behind a trial: itself, or what it confirms."""
    return SweepPaths.confirms(trial) or trial


def winner_label(trial: str, step: int) -> str:
    """Return how a leaderboard marks the row of the winner."""
    label = "winner" if searched_trial(trial) == trial else f"winner as {trial}"
    return f"{label}, step {step}"


def _row(record: TrialRecord, objective: str) -> dict[str, Any]:
    best = best_evaluation(record, objective)
    return {
        "trial": record.trial,
        "status": record.status,
        "reason": record.reason,
        "detail": record.detail,
        "point": dict(record.point),
        "loss_beta": record.loss_beta,
        "step": best.step if best else None,
        "accuracy": best.accuracy(objective) if best else None,
        "counts": dict(best.counts[objective]) if best else None,
        "drift_chosen": best.health["drift_chosen"] if best else None,
        "seconds": record.seconds,
    }
