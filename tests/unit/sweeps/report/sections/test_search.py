"""Tests of the sections on the search."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sweeps.report.blocks import Plot, Section
from sweeps.report.report_data import ReportData
from sweeps.report.sections.search import axes_section, curves_section, parallel_section
from tests.support.report_sections import plots, texts


def only_plot(section: Section) -> Plot:
    [plot] = section.blocks
    assert isinstance(plot, Plot)
    return plot


def test_each_numeric_hyperparameter_has_a_plot(ended: ReportData) -> None:
    by_name = plots([axes_section(ended)])
    assert set(by_name) == {"axis-beta", "axis-learning_rate", "axis-gamma_ratio"}
    beta, gamma = by_name["axis-beta"], by_name["axis-gamma_ratio"]
    assert beta.figure.layout.xaxis.type == "log", "as it is sampled"
    assert gamma.figure.layout.xaxis.type is None
    points = {trial.name: trial.point for trial in ended.evaluated_trials}
    dots = {
        trial: x
        for trace in gamma.figure.data
        for trial, x in zip(trace.customdata, trace.x, strict=True)
    }
    assert dots == {n: p["gamma_ratio"] for n, p in points.items() if "gamma_ratio" in p}
    groups = {str(point.get("length_norm")) for point in points.values()}
    assert {entry.split()[-1] for entry in beta.text[-1].split(", ")} == groups, "a legend"


def test_values_far_apart_are_logarithmic_however_they_were_sampled(ended: ReportData) -> None:
    records = [
        replace(record, point={"steps": 10 ** (number % 3 + 1)})
        for number, record in enumerate(ended.ended_trials)
    ]
    plot = plots([axes_section(replace(ended, ended_trials=records))])["axis-steps"]
    assert plot.figure.layout.xaxis.type == "log"


def test_without_numbers_that_differ_there_is_no_plot(ended: ReportData) -> None:
    records = [replace(r, point={"beta": 0.1, "norm": r.trial}) for r in ended.ended_trials]
    section = axes_section(replace(ended, ended_trials=records))
    assert texts(section) == ["No numeric hyperparameter differs between the evaluated trials."]


def test_every_evaluated_trial_is_a_line_over_all_hyperparameters(ended: ReportData) -> None:
    figure = only_plot(parallel_section(ended)).figure
    assert {t.meta for t in figure.data} == {trial.name for trial in ended.evaluated_trials}
    assert figure.data[-1].meta in ended.highlighted_trials
    assert list(figure.layout.xaxis.ticktext)[-1] == "accuracy"


def test_every_evaluated_trial_has_a_learning_curve(ended: ReportData) -> None:
    plot = only_plot(curves_section(ended))
    assert ended.highlighted is not None
    assert plot.caption.startswith("10 trials; the thick line is the winner, a cross ")
    curves = {trace.meta: list(trace.y) for trace in plot.figure.data}
    assert curves == {
        record.trial: [e.accuracy(ended.objective) for e in record.evaluations]
        for record in ended.records
        if record.evaluations
    }
    assert len(plot.text) == 10


def test_a_failed_trial_is_marked_in_the_sparklines(ended: ReportData) -> None:
    records = [replace(ended.ended_trials[0], status="failed"), *ended.ended_trials[1:]]
    plot = only_plot(curves_section(replace(ended, ended_trials=records)))
    [line] = [line for line in plot.text if line.startswith("t0000")]
    assert line.endswith("  failed")
    assert sum(line.endswith("  failed") for line in plot.text) == 1


def test_of_very_many_trials_the_best_are_drawn(
    ended: ReportData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.report.sections.search._MOST_LINES", 3)
    assert ended.highlighted is not None
    for section in (curves_section(ended), parallel_section(ended)):
        plot = only_plot(section)
        assert "(the best 3 of 10)" in plot.caption
        assert len([trace for trace in plot.figure.data if trace.meta]) == 3
    curves = only_plot(curves_section(ended)).figure
    assert ended.highlighted[0] in {trace.meta for trace in curves.data}


def test_a_hyperparameter_that_no_drawn_trial_has_gets_no_axis(
    ended: ReportData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.report.sections.search._MOST_LINES", 3)
    last = ended.evaluated_trials[-1].name
    records = [
        replace(r, point={**r.point, "rare": 1} if r.trial == last else r.point)
        for r in ended.ended_trials
    ]
    figure = only_plot(parallel_section(replace(ended, ended_trials=records))).figure
    assert "rare" not in figure.layout.xaxis.ticktext


@pytest.mark.parametrize("build", [axes_section, parallel_section, curves_section])
def test_before_any_evaluation_they_say_so(ended: ReportData, build: object) -> None:
    section = build(replace(ended, ended_trials=[]))
    assert texts(section) == ["Nothing has been evaluated yet."]
