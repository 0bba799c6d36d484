"""Plots of lines: learning curves, parallel coordinates, a trend over nights. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from sweeps.report.formatting import is_number
from sweeps.report.plots.style import (
    MARKED,
    PER_CENT,
    apply_layout,
    group_colour,
    plain_label,
    short_text,
)

_SCALE = "Viridis"
_ABSENT = -0.2
"""Height at which a line passes below an axis for which its trial has no value."""


@dataclass(frozen=True)
class Curve:
    """The accuracies `ys`, in [0, 1], of one trial at the steps `xs`."""

    trial: str
    group: str
    xs: Sequence[float]
    ys: Sequence[float]
    hover_text: str
    marked: bool = False
    broken: bool = False
    """Whether the trial failed after the last point."""


@dataclass(frozen=True)
class TrialLine:
    """One trial in a plot of parallel coordinates; `accuracy`, in [0, 1], gives the colour."""

    trial: str
    point: Mapping[str, object]
    accuracy: float


@dataclass(frozen=True)
class Series:
    """One accuracy over nights, each with its interval; None where a night has none."""

    values: Sequence[float | None]
    bounds: Sequence[Sequence[float] | None]


def draw_curves(curves: Sequence[Curve], x_title: str, y_title: str) -> go.Figure:
    """Draw a line for each trial, the marked one thick and on top; a failed one ends in a cross.

    Args:
        curves: The curves of the trials.
        x_title: Title of the horizontal axis.
        y_title: Title of the vertical axis.

    Returns:
        The figure.
    """
    figure = go.Figure()
    groups = sorted({curve.group for curve in curves})
    groups_in_legend: set[str] = set()
    for curve in sorted(curves, key=lambda curve: curve.marked):
        last_symbol = ["x" if curve.broken else "circle"]
        figure.add_scatter(
            x=list(curve.xs),
            y=list(curve.ys),
            mode="lines+markers",
            name=plain_label(curve.group),
            legendgroup=curve.group,
            showlegend=curve.group not in groups_in_legend,
            meta=curve.trial,
            text=[plain_label(curve.hover_text)] * len(curve.xs),
            hovertemplate="%{text}<br>step %{x}: %{y:.1%}<extra></extra>",
            line={
                "color": MARKED if curve.marked else group_colour(curve.group, groups),
                "width": 4 if curve.marked else 1.5,
            },
            marker={
                "size": 9 if curve.marked else 5,
                "symbol": ["circle"] * (len(curve.xs) - 1) + last_symbol,
            },
            opacity=1 if curve.marked else 0.6,
        )
        groups_in_legend.add(curve.group)
    figure.update_xaxes(title=x_title, rangemode="tozero")
    figure.update_yaxes(title=y_title, tickformat=PER_CENT)
    return apply_layout(figure)


def draw_parallel_coordinates(
    names: Sequence[str],
    lines: Sequence[TrialLine],
    log_names: frozenset[str],
    marked: str | None,
) -> go.Figure:
    """Draw each trial as a line over one axis for each hyperparameter and one for the accuracy.

    The lines stand in an ordinary plot and not in plotly's `parcoords`, which needs WebGL and cannot
    show that a trial has no value on an axis.

    Args:
        names: Hyperparameters, each of which has a value in at least one line.
        lines: At least one trial.
        log_names: Hyperparameters whose axis is logarithmic.
        marked: Name of the trial that is drawn thick and on top.

    Returns:
        The figure.
    """
    figure = go.Figure()
    accuracies = [line.accuracy for line in lines]
    colour_of = dict(zip(accuracies, _colours(accuracies), strict=True))
    scales = [_scale([line.point.get(name) for line in lines], name in log_names) for name in names]
    scales.append(_scale(accuracies, False))
    columns = [*names, "accuracy"]
    for line in sorted(lines, key=lambda line: (line.trial == marked, line.accuracy)):
        values = [*(line.point.get(name) for name in names), line.accuracy]
        hover_texts = [
            f"{line.trial}: {column} {short_text(value)}"
            for column, value in zip(columns, values, strict=True)
        ]
        figure.add_scatter(
            x=list(range(len(columns))),
            y=[_height(scale, value) for scale, value in zip(scales, values, strict=True)],
            mode="lines+markers",
            meta=line.trial,
            text=list(map(plain_label, hover_texts)),
            hovertemplate="%{text}<extra></extra>",
            line={
                "color": MARKED if line.trial == marked else colour_of[line.accuracy],
                "width": 4 if line.trial == marked else 1.5,
            },
            marker={"size": 5},
            opacity=1 if line.trial == marked else 0.7,
            showlegend=False,
        )
    for column, scale in enumerate(scales):
        figure.add_vline(x=column, line={"width": 1, "color": "#888888"}, opacity=0.5)
        for text, height, shift in scale.ticks():
            figure.add_annotation(
                x=column,
                y=height,
                yshift=shift,
                text=plain_label(text),
                showarrow=False,
                font_size=11,
            )
    figure.update_xaxes(
        side="top",
        tickvals=list(range(len(columns))),
        ticktext=[plain_label(column).replace("_", "<br>") for column in columns],
        tickangle=0,
        showgrid=False,
        showline=False,
        zeroline=False,
        range=[-0.4, len(columns) - 0.6],
    )
    figure.update_yaxes(visible=False, range=[_ABSENT - 0.1, 1.12])
    return apply_layout(figure, height=420).update_layout(margin={"t": 56, "l": 8, "r": 8, "b": 8})


def draw_trend(nights: Sequence[str], series: Mapping[str, Series], y_title: str) -> go.Figure:
    """Draw series of accuracies over nights; a line has a gap where a night has no value.

    Args:
        nights: Label of each night, the oldest first.
        series: Series by name, each with a value for each night.
        y_title: Title of the vertical axis.

    Returns:
        The figure.
    """
    figure = go.Figure()
    for name, one in series.items():
        rows = [(v, b or (v, v)) for v, b in zip(one.values, one.bounds, strict=True)]
        figure.add_scatter(
            x=[plain_label(night) for night in nights],
            y=list(one.values),
            mode="lines+markers",
            name=plain_label(name),
            hovertemplate="%{x}: %{y:.1%}<extra></extra>",
            line={"color": group_colour(name, tuple(series))},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [_distance(value, high) for value, (_, high) in rows],
                "arrayminus": [_distance(low, value) for value, (low, _) in rows],
                "thickness": 1,
            },
        )
    figure.update_xaxes(type="category", automargin=True, nticks=8)
    figure.update_yaxes(title=y_title, tickformat=PER_CENT)
    return apply_layout(figure)


@dataclass(frozen=True)
class _NumberScale:
    """An axis of numbers between `low` and `high`, which lie at the heights 0 and 1."""

    low: float
    high: float
    log: bool

    def height(self, number: object) -> float:
        if self.low == self.high or not is_number(number):
            return 0.5
        low, high, at = (math.log(n) if self.log else n for n in (self.low, self.high, number))
        return float((at - low) / (high - low))

    def ticks(self) -> list[tuple[str, float, int]]:
        """Return (text, height, shift in pixels) of both ends."""
        ends = [(self.low, -12), (self.high, 12)] if self.high > self.low else [(self.low, -12)]
        return [(short_text(end), self.height(end), shift) for end, shift in ends]


@dataclass(frozen=True)
class _ChoiceScale:
    """An axis of choices, evenly spaced between the heights 0 and 1."""

    choices: tuple[object, ...]

    def height(self, choice: object) -> float:
        if len(self.choices) < 2:
            return 0.5
        return self.choices.index(choice) / (len(self.choices) - 1)

    def ticks(self) -> list[tuple[str, float, int]]:
        """Return (text, height, shift in pixels) of every choice."""
        return [(short_text(choice), self.height(choice), 10) for choice in self.choices]


def _scale(values: Sequence[object], log: bool) -> _NumberScale | _ChoiceScale:
    """Return the axis for values, of which those that are None are absent."""
    present = {value for value in values if value is not None}
    numbers = [value for value in present if is_number(value)]
    if len(numbers) == len(present):
        return _NumberScale(min(numbers), max(numbers), log)
    return _ChoiceScale(tuple(sorted(present, key=str)))


def _height(scale: _NumberScale | _ChoiceScale, value: object) -> float:
    return _ABSENT if value is None else scale.height(value)


def _colours(accuracies: Sequence[float]) -> list[str]:
    """Return a colour for each accuracy, the brighter the higher it is."""
    low, span = min(accuracies), (max(accuracies) - min(accuracies)) or 1.0
    colours: list[str] = sample_colorscale(_SCALE, [(a - low) / span for a in accuracies])
    return colours


def _distance(low: float | None, high: float | None) -> float:
    return 0.0 if low is None or high is None else high - low
