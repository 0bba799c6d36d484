"""Plots of intervals, bars and histograms. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from sweeps.report.plots.style import (
    COLOURS,
    MARKED,
    PER_CENT,
    apply_layout,
    group_colour,
    plain_label,
)

_BINS = 40
_GUESSING = 0.5
"""Accuracy of guessing, where plots of intervals have a line."""


@dataclass(frozen=True)
class Interval:
    """An accuracy in [0, 1] with its interval, in the row of its name. `group` is the split."""

    name: str
    group: str
    middle: float
    bounds: tuple[float, float] | None
    hover_text: str


def draw_intervals(intervals: Sequence[Interval], x_title: str) -> go.Figure:
    """Draw one row for each name, the first on top, with the groups beside each other in it."""
    figure = go.Figure()
    groups = list(dict.fromkeys(interval.group for interval in intervals))
    names = list(dict.fromkeys(interval.name for interval in intervals))
    for number, group in enumerate(groups):
        members = [interval for interval in intervals if interval.group == group]
        offset = 0.3 * (number - (len(groups) - 1) / 2)
        figure.add_scatter(
            x=[interval.middle for interval in members],
            y=[names.index(interval.name) + offset for interval in members],
            mode="markers",
            name=plain_label(group),
            showlegend=len(groups) > 1,
            text=[plain_label(interval.hover_text) for interval in members],
            hovertemplate="%{text}<extra></extra>",
            marker={"size": 11, "color": group_colour(group, groups)},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [i.bounds[1] - i.middle if i.bounds else 0 for i in members],
                "arrayminus": [i.middle - i.bounds[0] if i.bounds else 0 for i in members],
                "thickness": 2,
            },
        )
    figure.add_vline(x=_GUESSING, line={"dash": "dot", "width": 1, "color": "#888888"})
    figure.update_xaxes(title=x_title, tickformat=PER_CENT)
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=[plain_label(name) for name in names],
        range=[len(names) - 0.5, -0.5],
        automargin=True,
        zeroline=False,
    )
    return apply_layout(figure, height=130 + 44 * len(names))


def draw_bars(names: Sequence[str], values: Sequence[float], x_title: str) -> go.Figure:
    """Draw horizontal bars from zero.

    Args:
        names: Label of each bar, the first on top.
        values: Length of each bar.
        x_title: Title of the axis of values.

    Returns:
        The figure.
    """
    figure = go.Figure()
    figure.add_bar(
        x=list(values),
        y=[plain_label(name) for name in names],
        orientation="h",
        marker={"color": COLOURS[0]},
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
    )
    figure.update_xaxes(title=x_title, rangemode="tozero")
    figure.update_yaxes(autorange="reversed", automargin=True)
    return apply_layout(figure, height=120 + 36 * len(names))


def draw_histogram(parts: Mapping[str, Sequence[float]], x_title: str) -> go.Figure:
    """Draw how many pairs have which value, the parts stacked over common bins."""
    everything = np.concatenate([np.asarray(values, dtype=float) for values in parts.values()])
    edges = np.histogram_bin_edges(everything[np.isfinite(everything)], bins=_BINS)
    figure = go.Figure()
    for part, values in parts.items():
        counts, _ = np.histogram(values, bins=edges)
        figure.add_bar(
            x=((edges[1:] + edges[:-1]) / 2).tolist(),
            y=counts.tolist(),
            name=plain_label(part),
            marker={"color": group_colour(part, tuple(parts))},
            hovertemplate="%{x:.3g}: %{y} pairs<extra></extra>",
        )
    figure.add_vline(x=0, line={"dash": "dot", "width": 2, "color": MARKED})
    figure.update_xaxes(title=x_title)
    figure.update_yaxes(title="pairs")
    figure.update_layout(barmode="stack", bargap=0.02)
    return apply_layout(figure)


def draw_stacked_columns(
    nights: Sequence[str], parts: Mapping[str, Sequence[float]], y_title: str
) -> go.Figure:
    """Draw one column for each night, with the parts stacked in it.

    Args:
        nights: Label of each column.
        parts: Values of each part, one for each night.
        y_title: Title of the axis of values.

    Returns:
        The figure.
    """
    figure = go.Figure()
    for part, values in parts.items():
        figure.add_bar(
            x=[plain_label(night) for night in nights],
            y=list(values),
            name=plain_label(part),
            marker={"color": MARKED if part == "failed" else group_colour(part, tuple(parts))},
        )
    figure.update_xaxes(type="category", automargin=True, nticks=8)
    figure.update_yaxes(title=y_title, rangemode="tozero")
    figure.update_layout(barmode="stack")
    return apply_layout(figure)


def draw_histogram_outlines(
    parts: Mapping[str, tuple[Sequence[float], Sequence[int]]], x_title: str
) -> go.Figure:
    """Draw histograms, each given as (edges, counts), as outlines that overlap."""
    figure = go.Figure()
    for part, (edges, counts) in parts.items():
        figure.add_scatter(
            x=list(edges),
            y=[*counts, 0],
            mode="lines",
            name=plain_label(part),
            line={"shape": "hv", "color": group_colour(part, tuple(parts))},
            hovertemplate="from %{x:.0f}: %{y} pairs<extra></extra>",
        )
    figure.update_xaxes(title=x_title, rangemode="tozero")
    figure.update_yaxes(title="pairs", rangemode="tozero")
    return apply_layout(figure)
