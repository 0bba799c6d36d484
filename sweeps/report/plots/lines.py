"""Plots of lines: learning curves, parallel coordinates, a trend over nights. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from sweeps.report.plots.style import MARKED, PER_CENT, colour, label, laid_out, short

_SCALE = "Viridis"
_ABSENT = -0.2
"""Where a line of `parallel` runs below an axis that does not exist in its trial."""


@dataclass(frozen=True)
class Curve:
    trial: str
    group: str
    xs: Sequence[float]
    ys: Sequence[float]
    about: str
    marked: bool = False
    broken: bool = False
    """The trial failed after the last point."""


def curves(lines: Sequence[Curve], x_title: str, y_title: str) -> go.Figure:
    """A line a trial; the marked one is on top, a failed one ends in a cross."""
    figure = go.Figure()
    groups = sorted({line.group for line in lines})
    seen: set[str] = set()
    for line in sorted(lines, key=lambda each: each.marked):
        ends = ["x" if line.broken else "circle"]
        figure.add_scatter(
            x=list(line.xs),
            y=list(line.ys),
            mode="lines+markers",
            name=label(line.group),
            legendgroup=line.group,
            showlegend=line.group not in seen,
            meta=line.trial,
            text=[label(line.about)] * len(line.xs),
            hovertemplate="%{text}<br>step %{x}: %{y:.1%}<extra></extra>",
            line={
                "color": MARKED if line.marked else colour(line.group, groups),
                "width": 4 if line.marked else 1.5,
            },
            marker={
                "size": 9 if line.marked else 5,
                "symbol": ["circle"] * (len(line.xs) - 1) + ends,
            },
            opacity=1 if line.marked else 0.6,
        )
        seen.add(line.group)
    figure.update_xaxes(title=x_title, rangemode="tozero")
    figure.update_yaxes(title=y_title, tickformat=PER_CENT)
    return laid_out(figure)


def parallel(
    names: Sequence[str],
    trials: Sequence[tuple[str, Mapping[str, Any], float]],
    log_names: frozenset[str],
    marked: str | None,
) -> go.Figure:
    """Each trial (name, point, accuracy) a line over the axes, coloured by its accuracy.

    Lines of a plain plot and not plotly's `parcoords`, which needs WebGL and has no place for an
    axis that does not exist in a trial.
    """
    figure = go.Figure()
    accuracies = [accuracy for _, _, accuracy in trials]
    shades = dict(zip(accuracies, _shades(accuracies), strict=True))
    scales = [_Scale.over([p.get(name) for _, p, _ in trials], name in log_names) for name in names]
    scales.append(_Scale.over(accuracies, False))
    columns = [*names, "accuracy"]
    for trial, point, accuracy in sorted(trials, key=lambda each: (each[0] == marked, each[2])):
        values = [*(point.get(name) for name in names), accuracy]
        about = [f"{trial}: {n} {short(v)}" for n, v in zip(columns, values, strict=True)]
        figure.add_scatter(
            x=list(range(len(columns))),
            y=[scale.place(v) for scale, v in zip(scales, values, strict=True)],
            mode="lines+markers",
            meta=trial,
            text=list(map(label, about)),
            hovertemplate="%{text}<extra></extra>",
            line={
                "color": MARKED if trial == marked else shades[accuracy],
                "width": 4 if trial == marked else 1.5,
            },
            marker={"size": 5},
            opacity=1 if trial == marked else 0.7,
            showlegend=False,
        )
    for column, scale in enumerate(scales):
        figure.add_vline(x=column, line={"width": 1, "color": "#888888"}, opacity=0.5)
        for text, height, shift in scale.ticks():
            figure.add_annotation(
                x=column, y=height, yshift=shift, text=label(text), showarrow=False, font_size=11
            )
    figure.update_xaxes(
        side="top",
        tickvals=list(range(len(columns))),
        ticktext=[label(column).replace("_", "<br>") for column in columns],
        tickangle=0,
        showgrid=False,
        showline=False,
        zeroline=False,
        range=[-0.4, len(columns) - 0.6],
    )
    figure.update_yaxes(visible=False, range=[_ABSENT - 0.1, 1.12])
    return laid_out(figure, height=420).update_layout(margin={"t": 56, "l": 8, "r": 8, "b": 8})


def trend(
    nights: Sequence[str], series: Mapping[str, tuple[Sequence[Any], Sequence[Any]]], y_title: str
) -> go.Figure:
    """Series of (values, intervals or Nones) over nights; gaps where a value is None."""
    figure = go.Figure()
    for name, (values, bounds) in series.items():
        ends = [b or (v, v) for v, b in zip(values, bounds, strict=True)]
        figure.add_scatter(
            x=[label(night) for night in nights],
            y=list(values),
            mode="lines+markers",
            name=label(name),
            hovertemplate="%{x}: %{y:.1%}<extra></extra>",
            line={"color": colour(name, tuple(series))},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [_gap(v, end[1]) for v, end in zip(values, ends, strict=True)],
                "arrayminus": [_gap(end[0], v) for v, end in zip(values, ends, strict=True)],
                "thickness": 1,
            },
        )
    figure.update_xaxes(type="category", automargin=True, nticks=8)
    figure.update_yaxes(title=y_title, tickformat=PER_CENT)
    return laid_out(figure)


@dataclass(frozen=True)
class _Scale:
    """Where values of one axis lie between 0 and 1: numbers by size, others by order."""

    values: tuple[Any, ...]
    log: bool

    @classmethod
    def over(cls, values: Sequence[Any], log: bool) -> _Scale:
        present = {v for v in values if v is not None}
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in present)
        ordered = sorted(present) if numbers else sorted(present, key=str)
        return cls(tuple(ordered), log and numbers)

    @property
    def numeric(self) -> bool:
        return all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)

    def place(self, value: Any) -> float:
        if value is None:
            return _ABSENT
        if len(self.values) < 2:
            return 0.5
        if not self.numeric:
            return self.values.index(value) / (len(self.values) - 1)
        low, high, at = (
            math.log(v) if self.log else v for v in (self.values[0], self.values[-1], value)
        )
        return float((at - low) / (high - low))

    def ticks(self) -> list[tuple[str, float, int]]:
        """(text, height, shift in pixels): both ends of a number, every choice otherwise."""
        if not self.numeric:
            return [(short(v), self.place(v), 10) for v in self.values]
        low, high = self.values[0], self.values[-1]
        ends = [(short(low), self.place(low), -12), (short(high), self.place(high), 12)]
        return ends if high > low else ends[:1]


def _shades(values: Sequence[float]) -> list[str]:
    low, span = min(values), (max(values) - min(values)) or 1.0
    colours: list[str] = sample_colorscale(_SCALE, [(v - low) / span for v in values])
    return colours


def _gap(low: float | None, high: float | None) -> float:
    return 0.0 if low is None or high is None else high - low
