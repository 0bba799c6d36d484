"""Plots in lines of characters, for Markdown and for readers without a browser."""

from __future__ import annotations

import math
from collections.abc import Sequence

_LEVELS = "▁▂▃▄▅▆▇█"
_WIDTH = 40


def sparkline(values: Sequence[float], low: float, high: float) -> str:
    """One block a value, from `low` to `high`."""
    top, span = len(_LEVELS) - 1, (high - low) or 1.0
    return "".join(_LEVELS[round(top * min(1.0, max(0.0, (v - low) / span)))] for v in values)


def bars(labels: Sequence[str], values: Sequence[float], shown: Sequence[str]) -> tuple[str, ...]:
    """Horizontal bars from zero."""
    most = max(map(abs, values), default=0.0) or 1.0
    wide = max(map(len, labels), default=0)
    return tuple(
        f"{label:<{wide}}  {'█' * round(_WIDTH * abs(v) / most):<{_WIDTH}}  {text}"
        for label, v, text in zip(labels, values, shown, strict=True)
    )


def ranges(
    labels: Sequence[str], middles: Sequence[float], bounds: Sequence[tuple[float, float]]
) -> tuple[str, ...]:
    """Intervals on one common scale, with their ends written below."""
    low, high = min(b[0] for b in bounds), max(b[1] for b in bounds)
    span, wide = (high - low) or 1.0, max(map(len, labels))

    def place(x: float) -> int:
        return round((_WIDTH - 1) * (x - low) / span)

    lines = []
    for label, middle, (left, right) in zip(labels, middles, bounds, strict=True):
        cells = [" "] * _WIDTH
        cells[place(left) : place(right) + 1] = "─" * (place(right) - place(left) + 1)
        cells[place(middle)] = "●"
        lines.append(f"{label:<{wide}}  {''.join(cells)}")
    ends = f"{100 * low:.1f} %", f"{100 * high:.1f} %"
    gap = _WIDTH - len(ends[0]) - len(ends[1])
    return (*lines, f"{'':<{wide}}  {ends[0]}{' ' * gap}{ends[1]}")


def scatter(
    xs: Sequence[float],
    ys: Sequence[float],
    marks: Sequence[str],
    *,
    log_x: bool = False,
    rows: int = 10,
    columns: int = 56,
) -> tuple[str, ...]:
    """A cell shows the mark of its highest point; the ends of both scales are written."""
    if not xs:
        return ()
    across = [math.log(x) for x in xs] if log_x else list(xs)
    cells = [[" "] * columns for _ in range(rows)]
    for x, y, mark in sorted(zip(across, ys, marks, strict=True), key=lambda each: each[1]):
        column = _cell(x, min(across), max(across), columns)
        cells[rows - 1 - _cell(y, min(ys), max(ys), rows)][column] = mark
    labels = [f"{100 * max(ys):.1f} %", *[""] * (rows - 2), f"{100 * min(ys):.1f} %"]
    lines = [f"{label:>8} │{''.join(c).rstrip()}" for label, c in zip(labels, cells, strict=True)]
    ends = f"{min(xs):.3g}", f"{max(xs):.3g}"
    gap = " " * max(1, columns - len(ends[0]) - len(ends[1]))
    return (*lines, f"{'':>8} └{'─' * columns}", f"{'':>8}  {ends[0]}{gap}{ends[1]}")


def _cell(x: float, low: float, high: float, cells: int) -> int:
    return round((cells - 1) * (x - low) / (high - low)) if high > low else (cells - 1) // 2
