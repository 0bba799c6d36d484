"""How the nights went, as rows that a report, a table or a chat can show. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

HOUR_S = 3600.0


def night_row(night: Mapping[str, Any], selection: Mapping[str, Any]) -> dict[str, Any]:
    """One night from its night.json and selection.json.

    Accuracies are the winner's, the incumbent's and the reference's on final; null without a winner.
    `worker_hours` and `gpu_hours` are what its trials held; `control` is the incumbent's point,
    trained again tonight, on select: when it moves, the data or the code did.
    """
    verdict, trials = selection["verdict"], selection["trials"]
    status = Counter(trial["status"] for trial in trials)
    seconds = sum(trial["seconds"] for trial in trials)
    hours = seconds / HOUR_S * night["workers"]
    return {
        "night": night["night"],
        "sweep": selection["sweep"],
        "verdict": verdict["word"],
        "against": verdict["against"],
        "difference": verdict["difference"],
        "interval": verdict["interval"],
        "final": _accuracy(selection.get("final")),
        "final_interval": (selection.get("final") or {}).get("interval"),
        "promoted": night["promoted"],
        "incumbent_final": _accuracy((selection.get("incumbent") or {}).get("final")),
        "reference_final": _accuracy((selection.get("reference") or {}).get("final")),
        "control": _control(night, trials),
        "trials": len(trials),
        "finished": status["finished"],
        "stopped": status["stopped"],
        "failed": status["failed"],
        "failures": dict(Counter(t["reason"] for t in trials if t["status"] == "failed")),
        "warm_started": night["warm_started"],
        "seconds": seconds,
        "worker_hours": hours,
        "gpu_hours": hours * night["gpus_per_worker"],
        "data_sha256": night["data_sha256"],
        "commit": night["code"]["commit"],
    }


def trend(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By night, each once (the last given counts), with what changed since the night before:
    `final_change`, whether the data or the code did; and whose winner was the incumbent after it.
    """
    ordered = sorted({row["night"]: row for row in rows}.values(), key=lambda row: row["night"])
    told: list[dict[str, Any]] = []
    incumbent, before = None, None
    for row in ordered:
        incumbent = row["night"] if row["promoted"] else incumbent
        told.append({**row, **_changes(row, before), "incumbent_after": incumbent})
        before = row
    return told


def _changes(row: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    if before is None:
        return {"final_change": None, "data_changed": None, "code_changed": None}
    both = row["final"] is not None and before["final"] is not None
    return {
        "final_change": row["final"] - before["final"] if both else None,
        "data_changed": row["data_sha256"] != before["data_sha256"],
        "code_changed": row["commit"] != before["commit"],
    }


def _accuracy(scores: Mapping[str, Any] | None) -> float | None:
    return scores["accuracy"] if scores else None


def _control(night: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> float | None:
    """Accuracy on select, where all trials are scored."""
    found = (trial for trial in trials if trial["trial"] == night["control"])
    return next((trial["accuracy"] for trial in found), None)
