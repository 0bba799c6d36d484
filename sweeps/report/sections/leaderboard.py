"""The section with the leaderboard: every trial of the search with its best checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dpo_core.wording import counted
from sweeps.report import formatting
from sweeps.report.blocks import Column, Row, Section, Text, number, table
from sweeps.report.report_data import OPEN, ReportData
from sweeps.run_dir.json_types import SelectionJson, TrialJson
from sweeps.selection.leaderboard import (
    exclusions_in_words,
    searched_trial,
    winner_first,
    winner_label,
)
from sweeps.selection.verdict import role_of_choice

_RANKS = ("excluded", "can win", "shortlisted")


def leaderboard_section(data: ReportData) -> Section:
    """Show the trials with their points and accuracies, the winner first, the others best first."""
    if not data.leaderboard:
        return Section("leaderboard", "Leaderboard", (Text("No trial has been drawn yet."),))
    names = list(dict.fromkeys(name for row in data.leaderboard for name in row["point"]))
    ranks = _selection_ranks(data.selection)
    columns = [
        Column("trial"),
        number("accuracy"),
        number("95 % interval"),
        number("step"),
        *([Column("selection")] if ranks else []),
        *(Column(name, numeric=name != "length_norm") for name in names),
        number("drift of chosen"),
        number("seconds"),
        Column("status", wide=True),
    ]
    winner = data.selection.get("winner")
    rows = [
        Row(
            _cells(row, data.bounds_of(row), names, ranks),
            trial=row["trial"],
            marked=row["trial"] in data.highlighted_trials,
        )
        for row in winner_first(data.leaderboard, winner["trial"] if winner else None)
    ]
    trials = counted(len(rows), "trial")
    first = f", the {data.highlighted_label} first" if winner else ""
    caption = f"{trials} ordered by {data.objective}{first}, each with its best checkpoint"
    note = Text(
        "Accuracies are measured on the select split, which the winner is selected on too, so the "
        "highest one is optimistic. Only checkpoints that moved the model can win; among those "
        "within a fifth of a standard error or one pair of the most accurate one, the one is "
        "selected whose chosen answers gained most in likelihood. Drift from the reference "
        "is in nats per token.",
        "note",
    )
    return Section("leaderboard", "Leaderboard", (note, table(caption, columns, rows)))


def _selection_ranks(selection: SelectionJson) -> dict[str, str]:
    """Return how far each trial's best candidate got in the selection; nothing without candidates."""
    ranks: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for candidate in selection.get("candidates") or []:  # the best of each trial comes first
        trial = candidate["trial"]
        can_win = candidate["admissible"] and candidate.get("eligible", True)
        rank = _RANKS[bool(can_win) + bool(candidate["shortlisted"])]
        ranks[trial] = max(rank, ranks.get(trial, _RANKS[0]), key=_RANKS.index)
        why = ", ".join(exclusions_in_words(candidate, selection["guardrails"]))
        reasons.setdefault(trial, f": {why}" if why else "")
    ranks = {t: rank + (reasons[t] if rank == _RANKS[0] else "") for t, rank in ranks.items()}
    winner = selection.get("winner")
    if winner and ranks:
        word = (selection.get("verdict") or {}).get("word")
        label = winner_label(winner["trial"], winner["step"], role_of_choice(word))
        ranks[searched_trial(winner["trial"])] = label
    return ranks


def _cells(
    row: TrialJson,
    bounds: tuple[float, float] | None,
    names: Sequence[str],
    ranks: Mapping[str, str],
) -> tuple[str, ...]:
    status = row["status"] + (f": {row['reason']} ({row['detail']})" if row["reason"] else "")
    return (
        row["trial"],
        formatting.percent(row["accuracy"]),
        formatting.percent_interval(bounds),
        formatting.value(row["step"]),
        *([ranks.get(row["trial"], formatting.MISSING)] if ranks else []),
        *(formatting.value(row["point"].get(name)) for name in names),
        formatting.nats(row["drift_chosen"]),
        formatting.MISSING if row["status"] == OPEN else f"{row['seconds']:.0f}",
        status,
    )
