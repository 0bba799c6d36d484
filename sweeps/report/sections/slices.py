"""The section on slices: accuracy by length, source and category, and the margins of all pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dpo_core.evaluation.outcomes import Count, Outcomes, label_slices, length_slices
from sweeps.report import formatting
from sweeps.report.blocks import (
    NOTHING_EVALUATED,
    Block,
    Column,
    Grid,
    Plot,
    Row,
    Section,
    Table,
    Text,
    number,
    table,
)
from sweeps.report.plots import bars_and_intervals, text_plots
from sweeps.report.plots.bars_and_intervals import Interval
from sweeps.report.report_data import ReportData
from sweeps.selection.statistics import wilson_interval

_TEXT_BINS = 12


def slices_section(data: ReportData) -> Section:
    """Show the accuracy of each slice, and the margins of all pairs, on the reported split."""
    split = data.reported_split
    if split is None:
        return Section("slices", "Accuracy by slice", (NOTHING_EVALUATED,))
    outcomes = data.outcomes[split]
    slices = _slices(data, outcomes)
    blocks: tuple[Block, ...] = (
        Grid((_slices_plot(slices, split), _margins_plot(data, outcomes, split))),
        Text(_length_sentence(data, outcomes), "note"),
        _table(slices, split),
    )
    return Section("slices", "Accuracy by slice", blocks)


def _slices(data: ReportData, outcomes: Outcomes) -> list[tuple[str, Count]]:
    """Return the name and the counts of each slice that has pairs."""
    gap = outcomes.chosen_tokens - outcomes.rejected_tokens
    slices = [
        ("all pairs", outcomes.count(data.objective)),
        ("chosen longer", outcomes.count(data.objective, gap > 0)),
        ("chosen shorter", outcomes.count(data.objective, gap < 0)),
    ]
    for kind, values in label_slices(outcomes, data.objective, data.labels).items():
        slices += [
            (f"{kind}: {label}", Count(counts["correct"], counts["ties"], counts["total"]))
            for label, counts in values.items()
        ]
    return [(name, count) for name, count in slices if count.total]


def _slices_plot(slices: Sequence[tuple[str, Count]], split: str) -> Plot:
    names = [name for name, _ in slices]
    bounds = [wilson_interval(count) for _, count in slices]
    intervals = [
        Interval(name, split, count.accuracy, interval, f"{name}: {_accuracy_text(count)}")
        for (name, count), interval in zip(slices, bounds, strict=True)
    ]
    return Plot(
        "slices",
        f"Accuracy of slices of the {split} split",
        bars_and_intervals.draw_intervals(intervals, "accuracy with its 95 % interval"),
        text_plots.draw_intervals(names, [count.accuracy for _, count in slices], bounds),
    )


def _accuracy_text(count: Count) -> str:
    interval = formatting.percent_interval(wilson_interval(count))
    return f"{formatting.percent(count.accuracy)} of {count.total} ({interval})"


def _table(slices: Sequence[tuple[str, Count]], split: str) -> Table:
    columns = [Column("slice"), number("pairs"), number("accuracy"), number("95 % interval")]
    rows = [
        Row(
            (
                name,
                str(count.total),
                formatting.percent(count.accuracy),
                formatting.percent_interval(wilson_interval(count)),
            )
        )
        for name, count in slices
    ]
    return table(f"Slices of the {split} split", columns, rows)


def _margins_plot(data: ReportData, outcomes: Outcomes, split: str) -> Plot:
    margins = outcomes.margins(data.objective)
    gap = outcomes.chosen_tokens - outcomes.rejected_tokens
    parts = {"chosen longer": gap > 0, "chosen shorter": gap < 0, "same length": gap == 0}
    values = {name: margins[where].tolist() for name, where in parts.items() if where.any()}
    unit = data.margin_unit
    figure = bars_and_intervals.draw_histogram(values, f"margin, {unit}; above zero is correct")
    counts, edges = np.histogram(margins[np.isfinite(margins)], bins=_TEXT_BINS)
    labels = [f"from {formatting.nats(left)} {unit}" for left in edges[:-1]]
    lines = text_plots.draw_bars(labels, counts.tolist(), [str(count) for count in counts])
    return Plot("margins", f"Margins of {len(margins)} {split} pairs", figure, lines)


def _length_sentence(data: ReportData, outcomes: Outcomes) -> str:
    by_length = length_slices(outcomes, data.objective)
    return (
        f"The length-controlled accuracy, which is the mean of the slices chosen longer and chosen "
        f"shorter, is {formatting.percent(by_length['length_controlled'])}. Always preferring the "
        f"longer answer would reach {formatting.percent(by_length['longer_wins'])}. Margin and length "
        f"difference correlate with {formatting.value(by_length['margin_length_correlation'])}."
    )
