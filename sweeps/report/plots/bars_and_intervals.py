"""Plots of intervals, bars and histograms. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from sweeps.report.plots.style import COLOURS, MARKED, PER_CENT, colour, label, laid_out


@dataclass(frozen=True)
class Range:
    """An accuracy with its interval, in a row of its own. `group`: the split."""

    name: str
    group: str
    middle: float
    bounds: tuple[float, float] | None
    about: str


def ranges(entries: Sequence[Range], x_title: str, middle_line: float | None = 0.5) -> go.Figure:
    """Intervals, one row a name, the first on top; groups lie beside each other in the row."""
    figure = go.Figure()
    groups = list(dict.fromkeys(entry.group for entry in entries))
    names = list(dict.fromkeys(entry.name for entry in entries))
    for number, group in enumerate(groups):
        members = [entry for entry in entries if entry.group == group]
        beside = 0.3 * (number - (len(groups) - 1) / 2)
        figure.add_scatter(
            x=[entry.middle for entry in members],
            y=[names.index(entry.name) + beside for entry in members],
            mode="markers",
            name=label(group),
            showlegend=len(groups) > 1,
            text=[label(entry.about) for entry in members],
            hovertemplate="%{text}<extra></extra>",
            marker={"size": 11, "color": colour(group, groups)},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [e.bounds[1] - e.middle if e.bounds else 0 for e in members],
                "arrayminus": [e.middle - e.bounds[0] if e.bounds else 0 for e in members],
                "thickness": 2,
            },
        )
    if middle_line is not None:
        figure.add_vline(x=middle_line, line={"dash": "dot", "width": 1, "color": "#888888"})
    figure.update_xaxes(title=x_title, tickformat=PER_CENT)
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=[label(name) for name in names],
        range=[len(names) - 0.5, -0.5],
        automargin=True,
        zeroline=False,
    )
    return laid_out(figure, height=130 + 44 * len(names))


def bars(names: Sequence[str], values: Sequence[float], x_title: str) -> go.Figure:
    """Horizontal, the first on top."""
    figure = go.Figure()
    figure.add_bar(
        x=list(values),
        y=[label(name) for name in names],
        orientation="h",
        marker={"color": COLOURS[0]},
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
    )
    figure.update_xaxes(title=x_title, rangemode="tozero")
    figure.update_yaxes(autorange="reversed", automargin=True)
    return laid_out(figure, height=120 + 36 * len(names))


def histogram(parts: Mapping[str, Sequence[float]], x_title: str, bins: int = 40) -> go.Figure:
    """Stacked counts over common bins."""
    everything = np.concatenate([np.asarray(values, dtype=float) for values in parts.values()])
    edges = np.histogram_bin_edges(everything[np.isfinite(everything)], bins=bins)
    figure = go.Figure()
    for part, values in parts.items():
        counts, _ = np.histogram(values, bins=edges)
        figure.add_bar(
            x=((edges[1:] + edges[:-1]) / 2).tolist(),
            y=counts.tolist(),
            name=label(part),
            marker={"color": colour(part, tuple(parts))},
            hovertemplate="%{x:.3g}: %{y} pairs<extra></extra>",
        )
    figure.add_vline(x=0, line={"dash": "dot", "width": 2, "color": MARKED})
    figure.update_xaxes(title=x_title)
    figure.update_yaxes(title="pairs")
    figure.update_layout(barmode="stack", bargap=0.02)
    return laid_out(figure)


def columns(nights: Sequence[str], parts: Mapping[str, Sequence[float]], y_title: str) -> go.Figure:
    """Stacked columns, one a night."""
    figure = go.Figure()
    for part, values in parts.items():
        figure.add_bar(
            x=[label(night) for night in nights],
            y=list(values),
            name=label(part),
            marker={"color": MARKED if part == "failed" else colour(part, tuple(parts))},
        )
    figure.update_xaxes(type="category", automargin=True, nticks=8)
    figure.update_yaxes(title=y_title, rangemode="tozero")
    figure.update_layout(barmode="stack")
    return laid_out(figure)


def profiles(parts: Mapping[str, tuple[Sequence[float], Sequence[int]]], x_title: str) -> go.Figure:
    """Histograms that were counted elsewhere, as (edges, counts), in outline over each other."""
    figure = go.Figure()
    for part, (edges, counts) in parts.items():
        figure.add_scatter(
            x=list(edges),
            y=[*counts, 0],
            mode="lines",
            name=label(part),
            line={"shape": "hv", "color": colour(part, tuple(parts))},
            hovertemplate="from %{x:.0f}: %{y} pairs<extra></extra>",
        )
    figure.update_xaxes(title=x_title, rangemode="tozero")
    figure.update_yaxes(title="pairs", rangemode="tozero")
    return laid_out(figure)
