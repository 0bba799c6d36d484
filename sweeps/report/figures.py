"""The plots, as plotly figures. Pure.

A user's text (names of sources, reasons) goes through `label`, because plotly reads a small HTML.
Points carry their trial's name as `customdata`, lines as `meta`, by which the page links plots.
Colours of text and grid are the page's, light or dark.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

# Okabe and Ito's colours: told apart by colour-blind readers, on white and on black.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
_NORMS = ("none", "mean", "simpo", "rdpo", "ld")
MARKED = "#D55E00"
_SCALE = "Viridis"
_PER_CENT = ".0%"
_HEIGHT = 340
_ABSENT = -0.2
"""Where a line of `parallel` runs below an axis that does not exist in its trial."""


@dataclass(frozen=True)
class Dot:
    """One trial or checkpoint in a scatter plot. `group` gives the colour and the legend."""

    trial: str
    group: str
    x: float | str
    y: float
    about: str
    bounds: tuple[float, float] | None = None
    """Interval of y."""
    marked: bool = False


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


@dataclass(frozen=True)
class Range:
    """An accuracy with its interval, in a row of its own. `group`: the split."""

    name: str
    group: str
    middle: float
    bounds: tuple[float, float] | None
    about: str


def label(text: Any) -> str:
    """As plotly shows it: text and not markup."""
    return html.escape(str(text), quote=False)


def colour(group: str, groups: Sequence[str]) -> str:
    """The same for a normalization in every plot."""
    known = _NORMS if group in _NORMS else tuple(groups)
    return _COLOURS[known.index(group) % len(_COLOURS)]


def scatter(
    dots: Sequence[Dot],
    x_title: str,
    y_title: str,
    *,
    log_x: bool = False,
    y_shares: bool = True,
    front: Sequence[tuple[float, float]] = (),
    zero_lines: bool = False,
) -> go.Figure:
    """`front` is drawn as a step line below the dots."""
    figure = go.Figure()
    if front:
        xs, ys = zip(*front, strict=True)
        line = {"color": "#888888", "dash": "dot", "shape": "hv"}
        figure.add_scatter(x=xs, y=ys, mode="lines", line=line, name="front", hoverinfo="skip")
    groups = sorted({dot.group for dot in dots})
    for group in groups:
        members = [dot for dot in dots if dot.group == group]
        figure.add_scatter(
            x=[dot.x for dot in members],
            y=[dot.y for dot in members],
            error_y=_error(members),
            mode="markers",
            name=label(group),
            text=[label(dot.about) for dot in members],
            customdata=[dot.trial for dot in members],
            hovertemplate="%{text}<extra></extra>",
            marker={
                "color": colour(group, groups),
                "size": [15 if dot.marked else 9 for dot in members],
                "symbol": ["star" if dot.marked else "circle" for dot in members],
                "line": {"width": 1, "color": "rgba(255,255,255,0.7)"},
            },
        )
    figure.update_xaxes(title=label(x_title), zeroline=zero_lines)
    if log_x:
        ticks = _log_ticks([float(dot.x) for dot in dots])
        figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{t:g}" for t in ticks])
    figure.update_yaxes(
        title=label(y_title), tickformat=_PER_CENT if y_shares else None, zeroline=zero_lines
    )
    return _laid_out(figure)


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
    figure.update_yaxes(title=y_title, tickformat=_PER_CENT)
    return _laid_out(figure)


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
        about = [f"{trial}: {n} {_short(v)}" for n, v in zip(columns, values, strict=True)]
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
    return _laid_out(figure, height=420).update_layout(margin={"t": 56, "l": 8, "r": 8, "b": 8})


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
    figure.update_xaxes(title=x_title, tickformat=_PER_CENT)
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=[label(name) for name in names],
        range=[len(names) - 0.5, -0.5],
        automargin=True,
        zeroline=False,
    )
    return _laid_out(figure, height=130 + 44 * len(names))


def bars(names: Sequence[str], values: Sequence[float], x_title: str) -> go.Figure:
    """Horizontal, the first on top."""
    figure = go.Figure()
    figure.add_bar(
        x=list(values),
        y=[label(name) for name in names],
        orientation="h",
        marker={"color": _COLOURS[0]},
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
    )
    figure.update_xaxes(title=x_title, rangemode="tozero")
    figure.update_yaxes(autorange="reversed", automargin=True)
    return _laid_out(figure, height=120 + 36 * len(names))


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
    return _laid_out(figure)


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
            np.log(v) if self.log else v for v in (self.values[0], self.values[-1], value)
        )
        return float((at - low) / (high - low))

    def ticks(self) -> list[tuple[str, float, int]]:
        """(text, height, shift in pixels): both ends of a number, every choice otherwise."""
        if not self.numeric:
            return [(_short(v), self.place(v), 10) for v in self.values]
        low, high = self.values[0], self.values[-1]
        ends = [(_short(low), self.place(low), -12), (_short(high), self.place(high), 12)]
        return ends if high > low else ends[:1]


def _shades(values: Sequence[float]) -> list[str]:
    low, span = min(values), (max(values) - min(values)) or 1.0
    colours: list[str] = sample_colorscale(_SCALE, [(v - low) / span for v in values])
    return colours


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _log_ticks(values: Sequence[float]) -> list[float]:
    """1, 3, 10, 30 … around the values; 1, 2, 5 … where they span less than two decades."""
    low, high = math.log10(min(values)), math.log10(max(values))
    steps = (1, 3) if high - low > 1.5 else (1, 2, 5)
    decades = range(math.floor(low) - 1, math.ceil(high) + 1)
    ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
    return [tick for tick in ticks if low - 0.5 <= math.log10(tick) <= high + 0.5]


def _error(dots: Sequence[Dot]) -> dict[str, Any] | None:
    if not any(dot.bounds for dot in dots):
        return None
    return {
        "type": "data",
        "symmetric": False,
        "array": [dot.bounds[1] - dot.y if dot.bounds else 0 for dot in dots],
        "arrayminus": [dot.y - dot.bounds[0] if dot.bounds else 0 for dot in dots],
        "thickness": 1,
        "width": 0,
        "color": "rgba(128,128,128,0.4)",
    }


def _laid_out(figure: go.Figure, height: int = _HEIGHT) -> go.Figure:
    return figure.update_layout(
        template="none",
        height=height,
        margin={"l": 60, "r": 16, "t": 28, "b": 48},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hoverlabel={"align": "left"},
        xaxis_title_font_size=13,
        yaxis_title_font_size=13,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
