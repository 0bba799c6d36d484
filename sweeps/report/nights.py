"""The trend over nights. Rows come from `nights.json` in the sweep's folder, oldest first:

{"night", "sweep", "accuracy", "interval", "reference", "verdict", "trials", "failed", "seconds"};
all but the first are optional. Accuracies are of the final split.
"""

from __future__ import annotations

from sweeps.report import figures, shown, text_plots
from sweeps.report.blocks import Block, Column, Plot, Row, Section, number, table
from sweeps.report.evidence import Evidence
from sweeps.report.figures import Range


def nights_section(evidence: Evidence) -> Section | None:
    """None for a sweep that is no night's."""
    nights = evidence.nights
    if not nights:
        return None
    blocks: list[Block] = []
    entries = [
        Range(
            str(night["night"]),
            "winner, final",
            night["accuracy"],
            tuple(night["interval"]) if night.get("interval") else None,
            f"{night['night']}: {shown.share(night['accuracy'])}, {night.get('verdict')}",
        )
        for night in nights
        if night.get("accuracy") is not None
    ]
    if entries:
        names, middles = [e.name for e in entries], [e.middle for e in entries]
        bounds = [e.bounds or (e.middle, e.middle) for e in entries]
        figure = figures.ranges(entries, "accuracy of the night's winner")
        lines = text_plots.ranges(names, middles, bounds)
        blocks.append(Plot("nights", "Accuracy of each night's winner", figure, lines))
    columns = [
        Column("night"),
        Column("sweep"),
        number("accuracy"),
        number("95 % interval"),
        Column("verdict"),
        number("trials"),
        number("failed"),
        number("cost"),
    ]
    rows = [
        Row(
            (
                str(night["night"]),
                str(night.get("sweep", shown.MISSING)),
                shown.share(night.get("accuracy")),
                shown.interval(night.get("interval")),
                str(night.get("verdict") or shown.MISSING),
                shown.value(night.get("trials")),
                shown.value(night.get("failed")),
                shown.MISSING if night.get("seconds") is None else shown.duration(night["seconds"]),
            ),
            marked=night.get("sweep") == evidence.sweep_id,
        )
        for night in nights
    ]
    blocks.append(table("Nights", columns, rows))
    return Section("nights", "Trend over nights", tuple(blocks))
