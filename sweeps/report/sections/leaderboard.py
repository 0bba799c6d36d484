"""The leaderboard: every trial of the search with its best checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dpo_core.evaluation.outcomes import Count
from sweeps.report import formatting
from sweeps.report.blocks import Column, Row, Section, Text, number, table
from sweeps.report.report_data import OPEN, Evidence
from sweeps.run_dir.paths import SweepPaths
from sweeps.selection.statistics import wilson_interval


def leaderboard_section(evidence: Evidence) -> Section:
    if not evidence.rows:
        return Section("leaderboard", "Leaderboard", (Text("No trial has been drawn yet."),))
    names = list(dict.fromkeys(name for row in evidence.rows for name in row["point"]))
    chosen = _standing(evidence.selection)
    columns = [
        Column("trial"),
        number("accuracy"),
        number("95 % interval"),
        number("step"),
        *([Column("choice")] if chosen else []),
        *(Column(n, numeric=n != "length_norm") for n in names),
        number("drift of chosen"),
        number("seconds"),
        Column("status", wide=True),
    ]
    rows = [_row(row, names, chosen, evidence.subject_trials) for row in evidence.rows]
    caption = f"{len(rows)} trials by {evidence.objective}, each with its best checkpoint"
    note = Text(
        "Accuracies are of the select split, which the choice is made on: the top one flatters. The "
        "winner is the one that drifted least among those not told from the most accurate. Drift is "
        "in nats a token against the reference.",
        "note",
    )
    return Section("leaderboard", "Leaderboard", (note, table(caption, columns, rows)))


def _standing(selection: Mapping[str, Any]) -> dict[str, str]:
    """What the choice made of a trial's checkpoints; empty where there was none."""
    found: dict[str, str] = {}
    rank = ("excluded", "admissible", "shortlisted")
    for candidate in selection.get("candidates") or []:
        here = rank[bool(candidate["admissible"]) + bool(candidate["shortlisted"])]
        before = found.get(candidate["trial"], rank[0])
        found[candidate["trial"]] = max(here, before, key=rank.index)
    won = selection.get("winner")
    if won and found:
        found[won["trial"]] = f"winner, step {won['step']}"
        confirmed = SweepPaths.confirms(won["trial"])
        if confirmed:
            found[confirmed] = f"winner as {won['trial']}, step {won['step']}"
    return found


def accuracy_bounds(counts: Mapping[str, Any] | None) -> tuple[float, float] | None:
    if not counts:
        return None
    return wilson_interval(Count(counts["correct"], counts["ties"], counts["total"]))


def _row(
    row: Mapping[str, Any],
    names: list[str],
    chosen: Mapping[str, str],
    subject: frozenset[str],
) -> Row:
    status = row["status"] + (f": {row['reason']} ({row['detail']})" if row["reason"] else "")
    cells = (
        row["trial"],
        formatting.share(row["accuracy"]),
        formatting.interval(accuracy_bounds(row["counts"])),
        formatting.value(row["step"]),
        *([chosen.get(row["trial"], formatting.MISSING)] if chosen else []),
        *(formatting.value(row["point"].get(name)) for name in names),
        formatting.nats(row["drift_chosen"]),
        formatting.MISSING if row["status"] == OPEN else f"{row['seconds']:.0f}",
        status,
    )
    return Row(cells, trial=row["trial"], marked=row["trial"] in subject)
