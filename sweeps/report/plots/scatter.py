"""Scatter plots of trials or checkpoints. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from sweeps.report.plots.style import MARKED, PER_CENT, apply_layout, group_colour, plain_label

_RIM = {"width": 1, "color": "rgba(255,255,255,0.7)"}


@dataclass(frozen=True)
class Dot:
    """One trial or checkpoint in a scatter plot. `group` gives the colour and the legend."""

    trial: str
    group: str
    x: float
    y: float
    hover_text: str
    bounds: tuple[float, float] | None = None
    """Interval of y."""
    marked: bool = False


def draw_scatter(
    dots: Sequence[Dot],
    x_title: str,
    y_title: str,
    *,
    log_x: bool = False,
    y_shares: bool = True,
    front: Sequence[tuple[float, float]] = (),
    zero_lines: bool = False,
    marked_label: str = "winner",
) -> go.Figure:
    """Draw dots in the colours of their groups, the marked ones as stars on top.

    Args:
        dots: At least one dot where `log_x` is set.
        x_title: Title of the horizontal axis.
        y_title: Title of the vertical axis.
        log_x: Whether the horizontal axis is logarithmic; all x are then above zero.
        y_shares: Whether y are shares in [0, 1], which the axis shows in per cent.
        front: Points (x, y) of a step line below the dots, by increasing x.
        zero_lines: Whether lines are drawn through zero.
        marked_label: Name of the marked dots in the legend.

    Returns:
        The figure.
    """
    figure = go.Figure()
    if front:
        xs, ys = zip(*front, strict=True)
        line = {"color": "#888888", "dash": "dot", "shape": "hv"}
        figure.add_scatter(x=xs, y=ys, mode="lines", line=line, name="front", hoverinfo="skip")
    groups = sorted({dot.group for dot in dots})
    for group in groups:
        members = [dot for dot in dots if dot.group == group and not dot.marked]
        colour = group_colour(group, groups)
        _add_dots(figure, members, group, {"color": colour, "size": 9, "line": _RIM})
    marked_dots = [dot for dot in dots if dot.marked]
    _add_dots(figure, marked_dots, marked_label, {"color": MARKED, "size": 16, "symbol": "star"})
    figure.update_xaxes(title=plain_label(x_title), zeroline=zero_lines)
    if log_x:
        ticks = _log_ticks([dot.x for dot in dots])
        figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{t:g}" for t in ticks])
    figure.update_yaxes(
        title=plain_label(y_title), tickformat=PER_CENT if y_shares else None, zeroline=zero_lines
    )
    return apply_layout(figure)


def _add_dots(
    figure: go.Figure, dots: Sequence[Dot], name: str, marker: Mapping[str, object]
) -> None:
    if dots:
        figure.add_scatter(
            x=[dot.x for dot in dots],
            y=[dot.y for dot in dots],
            error_y=_error_bars(dots),
            mode="markers",
            name=plain_label(name),
            text=[plain_label(dot.hover_text) for dot in dots],
            customdata=[dot.trial for dot in dots],
            hovertemplate="%{text}<extra></extra>",
            marker=marker,
        )


def _log_ticks(values: Sequence[float]) -> list[float]:
    """Return 1, 3, 10, 30 … around the values; 1, 2, 5 … where they span less than 1.5 decades."""
    low, high = math.log10(min(values)), math.log10(max(values))
    steps = (1, 3) if high - low > 1.5 else (1, 2, 5)
    decades = range(math.floor(low) - 1, math.ceil(high) + 1)
    ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
    return [tick for tick in ticks if low - 0.5 <= math.log10(tick) <= high + 0.5]


def _error_bars(dots: Sequence[Dot]) -> dict[str, object] | None:
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
