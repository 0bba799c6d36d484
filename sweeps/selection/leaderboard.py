"""The leaderboard: one row for each trial of the search, with its best checkpoint."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from sweeps.run_dir.json_types import CandidateJson, GuardrailJson, TrialJson
from sweeps.run_dir.ledger import TrialRecord
from sweeps.run_dir.paths import CheckpointKey, SweepPaths
from sweeps.selection.eligibility import violations_in_words
from sweeps.selection.ordering import best_checkpoint, best_evaluation, rank_key

RowT = TypeVar("RowT", bound=Mapping[str, object])


def trial_rows(records: Sequence[TrialRecord], objective: str) -> list[TrialJson]:
    """Return the rows of all trials, best first; trials without an evaluation are the last."""
    in_order = sorted(records, key=lambda record: _rank_key(record, objective))
    return [_row(record, objective) for record in in_order]


def judged_again(
    records: Iterable[TrialRecord], violations: Mapping[CheckpointKey, Mapping[str, float]]
) -> list[TrialRecord]:
    """Replace what keeps checkpoints from winning by what does so under the settings of a choice.

    The ledger keeps what was true when a checkpoint was evaluated. Other settings, or an earlier
    version, may have judged it otherwise, and would order the leaderboard by another rule than that
    of the choice.

    Args:
        records: Records of trials.
        violations: What keeps each checkpoint from winning, by name, where the number is above 0. A
            checkpoint that is missing keeps what its record has.

    Returns:
        The records in their order.
    """
    return [
        replace(
            record,
            evaluations=tuple(
                replace(each, violations=violations.get((record.trial, each.step), each.violations))
                for each in record.evaluations
            ),
        )
        for record in records
    ]


def winner_first(rows: Sequence[RowT], winner: str | None) -> list[RowT]:
    """Return the rows with that of the winner first and the others in their order.

    `winner` names the winner's trial, which may be one that confirms a trial of the search.
    """
    first = winner and searched_trial(winner)
    return sorted(rows, key=lambda row: row["trial"] != first)


def searched_trial(trial: str) -> str:
    """Return the trial of the search whose point a trial has: itself, or the one it confirms."""
    return SweepPaths.confirms(trial) or trial


def winner_label(trial: str, step: int, role: str) -> str:
    """Return how the row of the chosen checkpoint is marked.

    Args:
        trial: Its trial.
        step: Its step.
        role: What it is called, `verdict.role_of_choice`.

    Returns:
        The mark, with the trial where that is another one than the row's.
    """
    label = role if searched_trial(trial) == trial else f"{role} as {trial}"
    return f"{label}, step {step}"


def exclusions_in_words(candidate: CandidateJson, limits: Mapping[str, GuardrailJson]) -> list[str]:
    """Return what keeps a candidate from winning.

    Args:
        candidate: A row of `candidates` in selection.json.
        limits: Limit and action of each guardrail, by its name.

    Returns:
        Words, or the names of guardrails; empty where it can win.
    """
    return [
        *violations_in_words(candidate.get("violations", {})),
        *(
            name
            for name, check in candidate.get("guardrails", {}).items()
            if check["passed"] is False and limits[name]["action"] == "exclude"
        ),
    ]


def _rank_key(record: TrialRecord, objective: str) -> tuple[bool, float, float, int, str]:
    best = best_checkpoint([record], objective)
    return rank_key(best) if best else (True, math.inf, 0.0, 0, record.trial)


def _row(record: TrialRecord, objective: str) -> TrialJson:
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
