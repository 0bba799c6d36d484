"""What all plots share, and clouds of dots. Pure; plotly figures.

A user's text (names of sources, reasons) goes through `label`, because plotly reads a small HTML.
Points carry their trial's name as `customdata`, lines as `meta`, by which the page links plots.
Colours of text and grid are the page's, light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from sweeps.report.plots.style import (
    MARKED,
    PER_CENT,
    colour,
    label,
    laid_out,
)

_RIM = {"width": 1, "color": "rgba(255,255,255,0.7)"}


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


def scatter(
    dots: Sequence[Dot],
    x_title: str,
    y_title: str,
    *,
    log_x: bool = False,
    y_shares: bool = True,
    front: Sequence[tuple[float, float]] = (),
    zero_lines: bool = False,
    marked: str = "winner",
) -> go.Figure:
    """`front` is drawn as a step line below the dots; `marked` names the marked one, on top."""
    figure = go.Figure()
    if front:
        xs, ys = zip(*front, strict=True)
        line = {"color": "#888888", "dash": "dot", "shape": "hv"}
        figure.add_scatter(x=xs, y=ys, mode="lines", line=line, name="front", hoverinfo="skip")
    groups = sorted({dot.group for dot in dots})
    for group in groups:
        members = [dot for dot in dots if dot.group == group and not dot.marked]
        shade = colour(group, groups)
        _add_dots(figure, members, group, {"color": shade, "size": 9, "line": _RIM})
    chosen = [dot for dot in dots if dot.marked]
    _add_dots(figure, chosen, marked, {"color": MARKED, "size": 16, "symbol": "star"})
    figure.update_xaxes(title=label(x_title), zeroline=zero_lines)
    if log_x:
        ticks = _log_ticks([float(dot.x) for dot in dots])
        figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{t:g}" for t in ticks])
    figure.update_yaxes(
        title=label(y_title), tickformat=PER_CENT if y_shares else None, zeroline=zero_lines
    )
    return laid_out(figure)


def _add_dots(figure: go.Figure, dots: Sequence[Dot], name: str, marker: Mapping[str, Any]) -> None:
    if dots:
        figure.add_scatter(
            x=[dot.x for dot in dots],
            y=[dot.y for dot in dots],
            error_y=_error(dots),
            mode="markers",
            name=label(name),
            text=[label(dot.about) for dot in dots],
            customdata=[dot.trial for dot in dots],
            hovertemplate="%{text}<extra></extra>",
            marker=marker,
        )


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
