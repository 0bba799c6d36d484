"""Which checkpoint wins: a pure function of the ledger, whatever the order of its lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dpo_core.evaluation.failure_modes import drift_and_displacement
from dpo_core.evaluation.outcomes import OBJECTIVES, Floats, Outcomes, label_slices, length_slices
from sweeps.run_dir.ledger import EvaluationRecord, TrialRecord
from sweeps.selection.statistics import Groups, design_effect, wilson_interval


@dataclass(frozen=True)
class Candidate:
    """One evaluated checkpoint."""

    trial: str
    step: int
    point: Mapping[str, Any]
    evaluation: EvaluationRecord


def candidates(records: Iterable[TrialRecord]) -> list[Candidate]:
    """Every checkpoint of every trial that was evaluated, a later failure notwithstanding."""
    return [Candidate(r.trial, e.step, r.point, e) for r in records for e in r.evaluations]


def ranked(found: Iterable[Candidate], objective: str) -> list[Candidate]:
    """Best first: accuracy, then the per-token accuracy (ties are rarer there), then the earlier
    step (less drift), then the name, so that no two are ever equal."""
    return sorted(
        found,
        key=lambda c: (
            -c.evaluation.accuracy(objective),
            -c.evaluation.accuracy("token_reward_accuracy"),
            c.step,
            c.trial,
        ),
    )


def winner(records: Iterable[TrialRecord], objective: str) -> Candidate | None:
    """None when no trial lived to an evaluation."""
    return next(iter(ranked(candidates(records), objective)), None)


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
    order = list(dict.fromkeys(c.trial for c in ranked(candidates(records), objective)))
    order += sorted({record.trial for record in records} - set(order))
    return [_row(r, objective) for r in sorted(records, key=lambda r: order.index(r.trial))]


def _row(record: TrialRecord, objective: str) -> dict[str, Any]:
    best = winner([record], objective)
    return {
        "trial": record.trial,
        "status": record.status,
        "reason": record.reason,
        "detail": record.detail,
        "point": dict(record.point),
        "loss_beta": record.loss_beta,
        "step": best.step if best else None,
        "accuracy": best.evaluation.accuracy(objective) if best else None,
        "counts": dict(best.evaluation.counts[objective]) if best else None,
        "drift_chosen": best.evaluation.health["drift_chosen"] if best else None,
        "seconds": record.seconds,
    }
