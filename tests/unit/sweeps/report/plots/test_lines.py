"""Tests of plots of lines."""

from __future__ import annotations

import pytest

from sweeps.report.plots.lines import (
    Curve,
    Series,
    TrialLine,
    draw_curves,
    draw_parallel_coordinates,
    draw_trend,
)
from sweeps.report.plots.style import MARKED


def test_the_marked_curve_is_on_top_and_a_failed_one_ends_in_a_cross() -> None:
    curves = [
        Curve("t0", "none", [10, 20], [0.5, 0.6], "a", marked=True),
        Curve("t1", "none", [10, 20], [0.5, 0.4], "b", broken=True),
        Curve("t2", "mean", [10], [0.5], "c"),
    ]
    figure = draw_curves(curves, "step", "accuracy")
    assert [trace.meta for trace in figure.data] == ["t1", "t2", "t0"]
    failed, _, marked = figure.data
    assert list(failed.marker.symbol) == ["circle", "x"]
    assert list(marked.marker.symbol) == ["circle", "circle"]
    assert (marked.line.color, marked.opacity) == (MARKED, 1)
    assert [trace.showlegend for trace in figure.data] == [True, True, False], "a group once"


def parallel_lines() -> list[TrialLine]:
    return [
        TrialLine("t0", {"lr": 1e-6, "norm": "mean", "gamma": None}, 0.5),
        TrialLine("t1", {"lr": 1e-5, "norm": "none", "gamma": 0.3}, 0.6),
        TrialLine("t2", {"lr": 1e-4, "norm": "simpo", "gamma": 0.3}, 0.7),
    ]


def test_a_line_passes_each_axis_at_the_height_of_its_value() -> None:
    figure = draw_parallel_coordinates(
        ["lr", "norm", "gamma"], parallel_lines(), frozenset({"lr"}), "t1"
    )
    heights = {trace.meta: list(trace.y) for trace in figure.data}
    # The logarithm of lr, the order of the choices, one value alone in the middle, absent below.
    assert heights["t0"] == pytest.approx([0, 0, -0.2, 0])
    assert heights["t1"] == pytest.approx([0.5, 0.5, 0.5, 0.5])
    assert heights["t2"] == pytest.approx([1, 1, 0.5, 1])
    assert figure.data[-1].meta == "t1", "the marked line is on top"
    assert figure.data[-1].line.color == MARKED


def test_an_axis_that_is_not_logarithmic_is_even() -> None:
    figure = draw_parallel_coordinates(["lr"], parallel_lines(), frozenset(), None)
    heights = {trace.meta: trace.y[0] for trace in figure.data}
    assert heights["t1"] == pytest.approx(1 / 11)


def test_both_ends_of_numbers_and_every_choice_are_written() -> None:
    names = ["lr", "norm", "gamma"]
    figure = draw_parallel_coordinates(names, parallel_lines(), frozenset(), None)
    texts: dict[float, list[str]] = {}
    for annotation in figure.layout.annotations:
        texts.setdefault(annotation.x, []).append(annotation.text)
    assert texts == {
        0: ["1e-06", "0.0001"],
        1: ["mean", "none", "simpo"],
        2: ["0.3"],
        3: ["0.5", "0.7"],
    }


def test_truth_values_are_choices_and_no_numbers() -> None:
    lines = [TrialLine("t0", {"flag": True}, 0.5), TrialLine("t1", {"flag": False}, 0.5)]
    figure = draw_parallel_coordinates(["flag"], lines, frozenset({"flag"}), None)
    assert {trace.meta: trace.y[0] for trace in figure.data} == {"t0": 1, "t1": 0}
    assert {trace.y[1] for trace in figure.data} == {0.5}, "all accuracies are equal"


def test_a_trend_has_gaps_and_intervals() -> None:
    series = {
        "winner": Series([0.7, None, 0.8], [(0.6, 0.75), None, None]),
        "reference": Series([0.5, 0.5, 0.5], [None, None, None]),
    }
    winner, reference = draw_trend(["mon", "tue", "wed"], series, "accuracy").data
    assert list(winner.y) == [0.7, None, 0.8]
    assert list(winner.error_y.array) == pytest.approx([0.05, 0, 0])
    assert list(winner.error_y.arrayminus) == pytest.approx([0.1, 0, 0])
    assert list(reference.error_y.array) == [0, 0, 0]
    assert winner.line.color != reference.line.color
