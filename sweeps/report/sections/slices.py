"""The section on slices: accuracy by length, source and category, and the margins of all pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpo_core.evaluation.outcomes import Floats, Outcomes, label_masks, length_slices
from dpo_core.wording import counted
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
from sweeps.selection.statistics import Groups, accuracy_intervals

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


@dataclass(frozen=True)
class _Slice:
    """The accuracy of some of the pairs, in [0, 1]."""

    name: str
    pairs: int
    accuracy: float
    bounds: tuple[float, float]
    """Ends of the 95 % interval."""

    @property
    def text(self) -> str:
        interval = formatting.percent_interval(self.bounds)
        return f"{formatting.percent(self.accuracy)} of {self.pairs} ({interval})"


def _slices(data: ReportData, outcomes: Outcomes) -> list[_Slice]:
    """Return the slices that have pairs."""
    gap = outcomes.chosen_tokens - outcomes.rejected_tokens
    masks = {
        "all pairs": np.full(len(gap), True),
        "chosen longer": gap > 0,
        "chosen shorter": gap < 0,
    }
    for kind, by_value in label_masks(outcomes.ids, data.labels).items():
        masks |= {f"{kind}: {value}": mask for value, mask in by_value.items()}
    groups = Groups.of([data.group_of_pair.get(pair, pair) for pair in outcomes.ids])
    scores = (outcomes.signs(data.objective) + 1.0) / 2
    return [
        _slice(name, scores[mask], groups.where(mask)) for name, mask in masks.items() if mask.any()
    ]


def _slice(name: str, scores: Floats, groups: Groups) -> _Slice:
    [[low, high]] = accuracy_intervals(scores[None], groups).tolist()
    return _Slice(name, len(scores), float(scores.mean()), (low, high))


def _slices_plot(slices: Sequence[_Slice], split: str) -> Plot:
    intervals = [
        Interval(each.name, split, each.accuracy, each.bounds, f"{each.name}: {each.text}")
        for each in slices
    ]
    names, accuracies = [each.name for each in slices], [each.accuracy for each in slices]
    return Plot(
        "slices",
        f"Accuracy of slices of the {split} split",
        bars_and_intervals.draw_intervals(intervals, "accuracy with its 95 % interval"),
        text_plots.draw_intervals(names, accuracies, [each.bounds for each in slices]),
    )


def _table(slices: Sequence[_Slice], split: str) -> Table:
    columns = [Column("slice"), number("pairs"), number("accuracy"), number("95 % interval")]
    rows = [
        Row(
            (
                each.name,
                str(each.pairs),
                formatting.percent(each.accuracy),
                formatting.percent_interval(each.bounds),
            )
        )
        for each in slices
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
    return Plot("margins", f"Margins of {counted(len(margins), f'{split} pair')}", figure, lines)


def _length_sentence(data: ReportData, outcomes: Outcomes) -> str:
    by_length = length_slices(outcomes, data.objective)
    return (
        f"The length-controlled accuracy, which is the mean of the slices chosen longer and chosen "
        f"shorter, is {formatting.percent(by_length['length_controlled'])}. Always preferring the "
        f"longer answer would reach {formatting.percent(by_length['longer_wins'])}. Margin and length "
        f"difference correlate with {formatting.value(by_length['margin_length_correlation'])}."
    )
