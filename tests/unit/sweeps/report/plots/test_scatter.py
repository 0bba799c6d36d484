"""Tests of scatter plots."""

from __future__ import annotations

from sweeps.report.plots.scatter import Dot, draw_scatter
from sweeps.report.plots.style import MARKED


def dot(trial: str, group: str, x: float, y: float, **more: object) -> Dot:
    return Dot(trial, group, x, y, f"about {trial}", **more)


def test_dots_carry_their_trials_in_the_colours_of_their_groups() -> None:
    dots = [dot("t0", "none", 1, 0.5), dot("t1", "mean", 2, 0.6), dot("t2", "none", 3, 0.7)]
    figure = draw_scatter(dots, "x", "y")
    assert [(trace.name, list(trace.customdata)) for trace in figure.data] == [
        ("mean", ["t1"]),
        ("none", ["t0", "t2"]),
    ]
    assert figure.data[0].marker.color != figure.data[1].marker.color
    assert figure.layout.yaxis.tickformat == ".0%"


def test_the_marked_dot_is_a_star_on_top() -> None:
    dots = [dot("t0", "none", 1, 0.5, marked=True), dot("t1", "none", 2, 0.6)]
    figure = draw_scatter(dots, "x", "y", marked_label="best so far")
    last = figure.data[-1]
    assert (last.name, list(last.customdata)) == ("best so far", ["t0"])
    assert (last.marker.symbol, last.marker.color) == ("star", MARKED)


def test_error_bars_are_the_distances_to_the_bounds() -> None:
    dots = [dot("t0", "none", 1, 0.5, bounds=(0.25, 0.625)), dot("t1", "none", 2, 0.5)]
    [trace] = draw_scatter(dots, "x", "y").data
    assert list(trace.error_y.array) == [0.125, 0]
    assert list(trace.error_y.arrayminus) == [0.25, 0]
    [plain] = draw_scatter(dots[1:], "x", "y").data
    assert plain.error_y.array is None


def test_the_front_is_a_line_below_the_dots() -> None:
    figure = draw_scatter([dot("t0", "none", 1, 0.5)], "x", "y", front=[(1, 0.5), (2, 0.6)])
    front = figure.data[0]
    assert (front.name, front.mode, front.line.shape) == ("front", "lines", "hv")
    assert (list(front.x), list(front.y)) == ([1, 2], [0.5, 0.6])


def test_a_logarithmic_axis_has_round_ticks_around_its_dots() -> None:
    wide = draw_scatter([dot("a", "g", 0.01, 0.5), dot("b", "g", 1, 0.5)], "x", "y", log_x=True)
    assert wide.layout.xaxis.type == "log"
    assert list(wide.layout.xaxis.ticktext) == ["0.01", "0.03", "0.1", "0.3", "1", "3"]
    narrow = draw_scatter([dot("a", "g", 1, 0.5), dot("b", "g", 4, 0.5)], "x", "y", log_x=True)
    assert list(narrow.layout.xaxis.tickvals) == [0.5, 1, 2, 5, 10]


def test_axes_may_be_of_nats_through_zero() -> None:
    figure = draw_scatter([dot("a", "g", 1, 2)], "<x>", "y", y_shares=False, zero_lines=True)
    assert figure.layout.yaxis.tickformat is None
    assert (figure.layout.xaxis.zeroline, figure.layout.yaxis.zeroline) == (True, True)
    assert figure.layout.xaxis.title.text == "&lt;x&gt;"
