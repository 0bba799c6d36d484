"""The section on the best points of the search that were trained again with other seeds."""

from __future__ import annotations

from sweeps.report import formatting
from sweeps.report.blocks import Column, Row, Section, Text, number, table
from sweeps.report.report_data import ReportData
from sweeps.run_dir.json_types import ConfirmationJson


def confirmation_section(data: ReportData) -> Section | None:
    """Show each confirmed point, or return None where nothing was trained again."""
    confirmed_points = data.selection.get("confirmation") or []
    if not confirmed_points:
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
    rows = [_row(point, data.highlighted_trials) for point in confirmed_points]
    note = Text(
        "The best points of the search were trained again with other seeds, and the winner is "
        "selected by the mean accuracy over these seeds. A guardrail excludes a seed in brackets, so "
        "it is not in the mean; a point most of whose seeds are excluded has no mean and cannot win. "
        "Nor can a point whose seeds are not eligible on average. Shrinkage is the search score minus "
        "the mean.",
        "note",
    )
    return Section(
        "confirmation",
        "Confirmation",
        (note, table("Points trained again with other seeds", columns, rows)),
    )


def _row(point: ConfirmationJson, highlighted_trials: frozenset[str]) -> Row:
    missing = [f"{m['trial']}: {m['reason']} ({m['detail']})" for m in point.get("missing") or ()]
    cells = (
        point["trial"],
        formatting.point(point["point"]),
        ", ".join(map(str, point["seeds"])) or formatting.MISSING,
        ", ".join(_accuracies(point)) or formatting.MISSING,
        formatting.percent(point.get("mean")),
        formatting.percentage_points(point.get("spread")).removeprefix("+"),
        formatting.percent(point["search_score"]),
        formatting.percentage_points(point.get("shrinkage")),
        "; ".join(missing) or formatting.MISSING,
    )
    return Row(cells, trial=point["trial"], marked=point["trial"] in highlighted_trials)


def _accuracies(point: ConfirmationJson) -> list[str]:
    shown = [formatting.percent(accuracy) for accuracy in point["accuracies"]]
    counted = point.get("counted", [True] * len(shown))
    return [each if counts else f"({each})" for each, counts in zip(shown, counted, strict=True)]
