"""Tests of plots in lines of characters."""

from __future__ import annotations

import pytest

from sweeps.report.plots.text_plots import (
    draw_bars,
    draw_intervals,
    draw_scatter,
    draw_sparkline,
)


def test_a_sparkline_has_a_block_for_each_value() -> None:
    assert draw_sparkline([0.5, 0.75, 1.0], 0.5, 1.0) == "▁▅█"
    assert draw_sparkline([0.5, 0.5], 0.5, 0.5) == "▁▁"
    assert draw_sparkline([0.0, 2.0], 0.5, 1.0) == "▁█", "values beyond the ends are drawn there"


def test_intervals_share_one_scale() -> None:
    lines = draw_intervals(["a", "bb"], [0.5, 1.0], [(0.0, 1.0), (0.75, 1.0)])
    assert [len(line) for line in lines] == [44, 44, 44]
    assert lines[0].startswith("a   ──")
    assert lines[1].endswith("──●")
    assert lines[2].split() == ["0.0", "%", "100.0", "%"]


def test_a_scatter_plot_has_its_points_in_their_cells() -> None:
    plot = draw_scatter([1.0, 10.0, 100.0], [0.0, 1.0, 0.5], "abc", log_x=True)
    assert [next(i for i, line in enumerate(plot) if c in line) for c in "abc"] == [9, 0, 5]
    assert plot[0].index("b") - plot[9].index("a") == pytest.approx(28, abs=1)
    assert plot[-1].split() == ["1", "100"]
    linear = draw_scatter([1.0, 10.0, 100.0], [0.0, 1.0, 0.5], "abc")
    assert linear[0].index("b") - linear[9].index("a") == 5
    assert draw_scatter([], [], []) == ()


def test_of_points_in_one_cell_the_highest_is_shown() -> None:
    plot = draw_scatter([1.0, 1.0, 2.0], [0.50, 0.49, 0.0], "ab.")
    assert "a" in plot[0]
    assert not any("b" in line for line in plot)


def test_a_bar_is_as_long_as_its_value() -> None:
    zero, half, full = draw_bars(["x", "yy", "z"], [0.0, -2.0, 4.0], ["0", "-2", "4"])
    assert [line.count("█") for line in (zero, half, full)] == [0, 20, 40]
    assert half.startswith("yy  █")
    assert half.endswith("  -2")
    assert draw_bars(["x"], [0.0], ["0"])[0].startswith("x  ")
