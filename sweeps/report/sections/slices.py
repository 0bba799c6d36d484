"""Where the winner is right: length slices, sources, categories, and the margin of every pair."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dpo_core.evaluation.outcomes import Count, Outcomes, label_slices, length_slices
from sweeps.report import formatting
from sweeps.report.blocks import Block, Column, Grid, Plot, Row, Section, Table, Text, number, table
from sweeps.report.plots import bars_and_intervals, text_plots
from sweeps.report.plots.bars_and_intervals import Range
from sweeps.report.report_data import Evidence
from sweeps.selection.statistics import wilson_interval

_TEXT_BINS = 12
_NOTHING = Text("Nothing has been evaluated yet.", "note")


def slices_section(evidence: Evidence) -> Section:
    """Length slices, sources, categories, and the margins of every pair."""
    split = evidence.judged_split
    if split is None:
        return Section("slices", "Where it is right", (_NOTHING,))
    outcomes = evidence.outcomes[split]
    slices = _slices(evidence, outcomes)
    entries = [
        Range(name, split, c.accuracy, wilson_interval(c), f"{name}: {_told(c)}")
        for name, c in slices
    ]
    names = [entry.name for entry in entries]
    bounds = [wilson_interval(count) for _, count in slices]
    blocks: tuple[Block, ...] = (
        Grid(
            (
                Plot(
                    "slices",
                    f"Accuracy of slices of the {split} split",
                    bars_and_intervals.ranges(entries, "accuracy with its 95 % interval"),
                    text_plots.ranges(names, [entry.middle for entry in entries], bounds),
                ),
                _margins(evidence, outcomes, split),
            )
        ),
        Text(_length_sentence(evidence, outcomes), "note"),
        _slice_table(slices, split),
    )
    return Section("slices", "Where it is right", blocks)


def _slices(evidence: Evidence, outcomes: Outcomes) -> list[tuple[str, Count]]:
    gap = outcomes.chosen_tokens - outcomes.rejected_tokens
    found = [
        ("all pairs", outcomes.count(evidence.objective)),
        ("chosen longer", outcomes.count(evidence.objective, gap > 0)),
        ("chosen shorter", outcomes.count(evidence.objective, gap < 0)),
    ]
    for kind, values in label_slices(outcomes, evidence.objective, evidence.labels).items():
        found += [
            (f"{kind}: {name}", Count(of["correct"], of["ties"], of["total"]))
            for name, of in values.items()
        ]
    return [(name, count) for name, count in found if count.total]


def _told(count: Count) -> str:
    interval = formatting.interval(wilson_interval(count))
    return f"{formatting.share(count.accuracy)} of {count.total} ({interval})"


def _slice_table(slices: Sequence[tuple[str, Count]], split: str) -> Table:
    columns = [Column("slice"), number("pairs"), number("accuracy"), number("95 % interval")]
    rows = [
        Row(
            (
                name,
                str(c.total),
                formatting.share(c.accuracy),
                formatting.interval(wilson_interval(c)),
            )
        )
        for name, c in slices
    ]
    return table(f"Slices of the {split} split", columns, rows)


def _margins(evidence: Evidence, outcomes: Outcomes, split: str) -> Plot:
    margins = outcomes.margins(evidence.objective)
    gap = outcomes.chosen_tokens - outcomes.rejected_tokens
    parts = {"chosen longer": gap > 0, "chosen shorter": gap < 0, "same length": gap == 0}
    values = {name: margins[where].tolist() for name, where in parts.items() if where.any()}
    unit = "nats a token" if evidence.objective == "token_reward_accuracy" else "nats"
    figure = bars_and_intervals.histogram(values, f"margin, {unit}; right of zero is right")
    counts, edges = np.histogram(margins[np.isfinite(margins)], bins=_TEXT_BINS)
    starts = [f"{formatting.nats(left)} {unit} and more" for left in edges[:-1]]
    lines = text_plots.bars(starts, counts.tolist(), [str(count) for count in counts])
    return Plot("margins", f"Margins of {len(margins)} {split} pairs", figure, lines)


def _length_sentence(evidence: Evidence, outcomes: Outcomes) -> str:
    told = length_slices(outcomes, evidence.objective)
    correlation = told["margin_length_correlation"]
    return (
        f"Length-controlled accuracy, the mean of the longer and the shorter slice: "
        f"{formatting.share(told['length_controlled'])}. Guessing that the longer answer wins: "
        f"{formatting.share(told['longer_wins'])}. Correlation of margin and length difference: "
        f"{formatting.value(correlation)}."
    )
