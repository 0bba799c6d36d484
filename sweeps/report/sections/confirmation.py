"""The best points, trained again with other seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sweeps.report import formatting
from sweeps.report.blocks import Column, Row, Section, Text, number, table
from sweeps.report.report_data import Evidence


def confirmation_section(evidence: Evidence) -> Section | None:
    """None where nothing was trained again."""
    found: Sequence[Mapping[str, Any]] = evidence.selection.get("confirmation") or []
    if not found:
        return None
    columns = [
        Column("trial"),
        Column("point", wide=True),
        number("seeds"),
        number("accuracies"),
        number("mean"),
        number("spread"),
        number("search score"),
        number("shrinkage"),
        Column("missing", wide=True),
    ]
    rows = [_confirmed(each, evidence.subject_trials) for each in found]
    note = Text(
        "The best points were trained again with other seeds; the winner is chosen on their means. "
        "Shrinkage is how much of the search score did not come back.",
        "note",
    )
    return Section("confirmation", "Confirmation", (note, table("With other seeds", columns, rows)))


def _confirmed(each: Mapping[str, Any], subject: frozenset[str]) -> Row:
    missing = [f"{m['trial']}: {m['reason']} ({m['detail']})" for m in each.get("missing") or ()]
    cells = (
        each["trial"],
        formatting.point(each["point"]),
        ", ".join(map(str, each["seeds"])) or formatting.MISSING,
        ", ".join(map(formatting.share, each["accuracies"])) or formatting.MISSING,
        formatting.share(each.get("mean")),
        formatting.points(each.get("spread")).removeprefix("+"),
        formatting.share(each["search_score"]),
        formatting.points(each.get("shrinkage")),
        "; ".join(missing) or formatting.MISSING,
    )
    return Row(cells, trial=each["trial"], marked=each["trial"] in subject)
