"""Tests of plots of intervals, bars and histograms."""

from __future__ import annotations

import pytest

from sweeps.report.plots.bars_and_intervals import (
    Interval,
    draw_bars,
    draw_histogram,
    draw_histogram_outlines,
    draw_intervals,
    draw_stacked_columns,
)
from sweeps.report.plots.style import MARKED


def test_groups_stand_beside_each_other_in_the_row_of_their_name() -> None:
    intervals = [
        Interval("winner", "final", 0.7, (0.6, 0.75), "a"),
        Interval("winner", "select", 0.8, (0.7, 0.9), "b"),
        Interval("<reference>", "final", 0.5, None, "c"),
    ]
    figure = draw_intervals(intervals, "accuracy")
    final, select = figure.data
    assert (final.name, select.name) == ("final", "select")
    assert list(final.y) == pytest.approx([-0.15, 0.85])
    assert list(select.y) == pytest.approx([0.15])
    assert list(final.error_x.array) == pytest.approx([0.05, 0])
    assert list(final.error_x.arrayminus) == pytest.approx([0.1, 0])
    assert list(figure.layout.yaxis.ticktext) == ["winner", "&lt;reference&gt;"]
    assert figure.layout.yaxis.range == (1.5, -0.5), "the first name is on top"
    assert figure.layout.shapes[0].x0 == 0.5, "a line marks guessing"


def test_one_group_has_no_legend() -> None:
    [trace] = draw_intervals([Interval("a", "select", 0.7, None, "")], "accuracy").data
    assert trace.showlegend is False
    assert list(trace.y) == [0]


def test_bars_stand_below_each_other() -> None:
    figure = draw_bars(["<a>", "b"], [0.7, 0.3], "share")
    [trace] = figure.data
    assert (list(trace.y), list(trace.x)) == (["&lt;a&gt;", "b"], [0.7, 0.3])
    assert figure.layout.yaxis.autorange == "reversed"


def test_a_histogram_counts_every_finite_value_in_common_bins() -> None:
    parts = {"longer": [-1.0, 0.5, 3.0], "shorter": [0.5, float("nan")]}
    longer, shorter = draw_histogram(parts, "margin").data
    assert list(longer.x) == list(shorter.x)
    assert (sum(longer.y), sum(shorter.y)) == (3, 1)
    shared_bin = list(shorter.y).index(1)
    assert longer.y[shared_bin] == 1


def test_columns_are_stacked_and_failures_are_marked() -> None:
    figure = draw_stacked_columns(["mon", "tue"], {"finished": [3, 4], "failed": [1, 0]}, "trials")
    finished, failed = figure.data
    assert (list(finished.x), list(finished.y)) == (["mon", "tue"], [3, 4])
    assert failed.marker.color == MARKED != finished.marker.color
    assert figure.layout.barmode == "stack"


def test_an_outline_ends_at_the_last_edge() -> None:
    [trace] = draw_histogram_outlines({"prompt": ([0, 10, 20], [5, 2])}, "tokens").data
    assert (list(trace.x), list(trace.y)) == ([0, 10, 20], [5, 2, 0])
    assert trace.line.shape == "hv"
