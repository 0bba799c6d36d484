"""Rows that show how the nights went, for the report, the terminal and a chat: pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypedDict

from sweeps.run_dir.json_types import (
    NightJson,
    NightRow,
    ScoresJson,
    SelectionJson,
    SplitScoresJson,
    TrendRow,
)

HOUR_S = 3600.0


def night_row(night: NightJson, selection: SelectionJson) -> NightRow:
    """Return the row of a night that has ended, from its night.json and selection.json.

    Accuracies are those of the winner, the incumbent and the reference on final; null without a
    winner. `worker_hours` and `gpu_hours` count the time in which its trials held workers and GPUs.
    Trials are those of the search and of the confirmation.
    `control` is the select accuracy of the incumbent's point, trained again in this night: when it
    differs from night to night, the data or the code has changed.
    """
    verdict, trials = selection["verdict"], selection["trials"]
    status = Counter(trial["status"] for trial in trials)
    counts = selection.get("trial_counts")
    ended = counts["search"] + counts["confirmation"] if counts else len(trials)
    failed = counts["failed"] if counts else status["failed"]
    seconds = selection.get("trial_seconds", sum(trial["seconds"] for trial in trials))
    hours = seconds / HOUR_S * night["workers"]
    final = selection.get("final")
    return {
        "night": night["night"],
        "sweep": selection["sweep"],
        "verdict": verdict["word"],
        "against": verdict["against"],
        "difference": verdict["difference"],
        "interval": verdict["interval"],
        "final": _accuracy(final),
        "final_interval": final["interval"] if final else None,
        "promoted": night["promoted"],
        "incumbent_final": _final_accuracy(selection.get("incumbent")),
        "reference_final": _final_accuracy(selection.get("reference")),
        "control": _control(night, selection),
        "trials": ended,
        "finished": ended - failed - status["stopped"],
        "stopped": status["stopped"],
        "failed": failed,
        "failures": dict(Counter(str(t["reason"]) for t in trials if t["status"] == "failed")),
        "warm_started": night["warm_started"],
        "seconds": seconds,
        "worker_hours": hours,
        "gpu_hours": hours * night["gpus_per_worker"],
        "data_sha256": night["data_sha256"],
        "final_sha256": night.get("final_sha256"),
        "commit": night["code"]["commit"],
    }


def trend(rows: Sequence[NightRow]) -> list[TrendRow]:
    """Return the rows by night, with what changed since the night before.

    Of several rows for one night the last counts. `incumbent_after` is the night whose winner was the
    incumbent when the night had ended. Its accuracy is that of the nights after its promotion: the
    number that promoted it was the best of many, and so is too high.
    """
    ordered = sorted({row["night"]: row for row in rows}.values(), key=lambda row: row["night"])
    trend_rows: list[TrendRow] = []
    promoted, before = None, None
    since: list[NightRow] = []
    for row in ordered:
        since.append(row)
        if row["promoted"]:
            promoted, since = row, []
        trend_rows.append(
            {
                **row,
                **_changes(row, before),
                "incumbent_after": promoted and promoted["night"],
                **_incumbent(promoted, since),
            }
        )
        before = row
    return trend_rows


class _IncumbentSince(TypedDict):
    """The incumbent's accuracy in the nights after its promotion."""

    incumbent_accuracy: float | None
    incumbent_nights: int
    incumbent_pairs_changed: bool


def _incumbent(promoted: NightRow | None, since: Sequence[NightRow]) -> _IncumbentSince:
    scored = [row for row in since if promoted and row["incumbent_final"] is not None]
    accuracies = [row["incumbent_final"] or 0.0 for row in scored]
    return {
        "incumbent_accuracy": sum(accuracies) / len(accuracies) if accuracies else None,
        "incumbent_nights": len(scored),
        "incumbent_pairs_changed": any(
            _final_pairs_differ(row, promoted) for row in scored if promoted
        ),
    }


def _final_pairs_differ(row: NightRow, other: NightRow) -> bool:
    """Return whether two nights had other final pairs; an earlier version tells of all pairs only."""
    if row.get("final_sha256") and other.get("final_sha256"):
        return row["final_sha256"] != other["final_sha256"]
    return row["data_sha256"] != other["data_sha256"]


class _Changes(TypedDict):
    """Changes since the night before; nulls for the first night."""

    final_change: float | None
    data_changed: bool | None
    code_changed: bool | None


def _changes(row: NightRow, before: NightRow | None) -> _Changes:
    if before is None:
        return {"final_change": None, "data_changed": None, "code_changed": None}
    now_final, before_final = row["final"], before["final"]
    change = None if now_final is None or before_final is None else now_final - before_final
    return {
        "final_change": change,
        "data_changed": row["data_sha256"] != before["data_sha256"],
        "code_changed": row["commit"] != before["commit"],
    }


def _accuracy(scores: ScoresJson | None) -> float | None:
    return scores["accuracy"] if scores else None


def _final_accuracy(scores: SplitScoresJson | None) -> float | None:
    return _accuracy(scores.get("final")) if scores else None


def _control(night: NightJson, selection: SelectionJson) -> float | None:
    trials = (trial for trial in selection["trials"] if trial["trial"] == night["control"])
    return next((trial["accuracy"] for trial in trials), None)
