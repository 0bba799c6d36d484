"""Plots in lines of characters, for Markdown and for readers without a browser."""

from __future__ import annotations

import math
from collections.abc import Sequence

_LEVELS = "▁▂▃▄▅▆▇█"
_WIDTH = 40
_SCATTER_ROWS, _SCATTER_COLUMNS = 10, 56


def draw_sparkline(values: Sequence[float], low: float, high: float) -> str:
    """Draw a block for each value, the higher the larger it is.

    Args:
        values: The values; those outside of `low` and `high` are drawn as if they were equal to it.
        low: Value of the lowest block.
        high: Value of the highest block.

    Returns:
        As many characters as there are values.
    """
    top, span = len(_LEVELS) - 1, (high - low) or 1.0
    return "".join(_LEVELS[round(top * min(1.0, max(0.0, (v - low) / span)))] for v in values)


def draw_bars(
    labels: Sequence[str], values: Sequence[float], value_texts: Sequence[str]
) -> tuple[str, ...]:
    """Draw horizontal bars from zero.

    Args:
        labels: Label of each bar.
        values: Value of each bar; its length is the absolute value.
        value_texts: Text behind each bar.

    Returns:
        A line for each bar.
    """
    most = max(map(abs, values), default=0.0) or 1.0
    width = max(map(len, labels), default=0)
    return tuple(
        f"{label:<{width}}  {'█' * round(_WIDTH * abs(value) / most):<{_WIDTH}}  {text}"
        for label, value, text in zip(labels, values, value_texts, strict=True)
    )


def draw_intervals(
    labels: Sequence[str], middles: Sequence[float], bounds: Sequence[tuple[float, float]]
) -> tuple[str, ...]:
    """Draw intervals of shares on one scale.

    Args:
        labels: Label of each interval, at least one.
        middles: Where each interval has its dot, in [0, 1].
        bounds: Both ends of each interval, in [0, 1].

    Returns:
        A line for each interval, and one with both ends of the scale in per cent.
    """
    low, high = min(left for left, _ in bounds), max(right for _, right in bounds)
    span, width = (high - low) or 1.0, max(map(len, labels))

    def column(share: float) -> int:
        return round((_WIDTH - 1) * (share - low) / span)

    lines = []
    for label, middle, (left, right) in zip(labels, middles, bounds, strict=True):
        cells = [" "] * _WIDTH
        cells[column(left) : column(right) + 1] = "─" * (column(right) - column(left) + 1)
        cells[column(middle)] = "●"
        lines.append(f"{label:<{width}}  {''.join(cells)}")
    ends = f"{100 * low:.1f} %", f"{100 * high:.1f} %"
    gap = _WIDTH - len(ends[0]) - len(ends[1])
    return (*lines, f"{'':<{width}}  {ends[0]}{' ' * gap}{ends[1]}")


def draw_scatter(
    xs: Sequence[float], ys: Sequence[float], marks: Sequence[str], *, log_x: bool = False
) -> tuple[str, ...]:
    """Draw points as characters; where several share a cell, the one with the highest y is shown.

    Args:
        xs: Horizontal positions, above zero where `log_x` is set.
        ys: Vertical positions: shares in [0, 1].
        marks: Character of each point.
        log_x: Whether the horizontal axis is logarithmic.

    Returns:
        The lines of the plot with the ends of both axes; none where there are no points.
    """
    if not xs:
        return ()
    across = [math.log(x) for x in xs] if log_x else list(xs)
    cells = [[" "] * _SCATTER_COLUMNS for _ in range(_SCATTER_ROWS)]
    for x, y, mark in sorted(zip(across, ys, marks, strict=True), key=lambda point: point[1]):
        column = _cell(x, min(across), max(across), _SCATTER_COLUMNS)
        cells[_SCATTER_ROWS - 1 - _cell(y, min(ys), max(ys), _SCATTER_ROWS)][column] = mark
    labels = [f"{100 * max(ys):.1f} %", *[""] * (_SCATTER_ROWS - 2), f"{100 * min(ys):.1f} %"]
    lines = [f"{label:>8} │{''.join(c).rstrip()}" for label, c in zip(labels, cells, strict=True)]
    ends = f"{min(xs):.3g}", f"{max(xs):.3g}"
    gap = " " * max(1, _SCATTER_COLUMNS - len(ends[0]) - len(ends[1]))
    return (*lines, f"{'':>8} └{'─' * _SCATTER_COLUMNS}", f"{'':>8}  {ends[0]}{gap}{ends[1]}")


def _cell(value: float, low: float, high: float, cells: int) -> int:
    return round((cells - 1) * (value - low) / (high - low)) if high > low else (cells - 1) // 2
