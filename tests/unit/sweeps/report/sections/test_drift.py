"""Tests of the section on drift."""

from __future__ import annotations

from dataclasses import replace

from sweeps.report.report_data import ReportData
from sweeps.report.sections.drift import drift_section
from tests.support.report_sections import plots, texts


def test_every_checkpoint_is_a_dot_and_the_winner_a_star(ended: ReportData) -> None:
    by_name = plots([drift_section(ended)])
    assert ended.highlighted is not None
    for name in ("pareto", "sides"):
        traces = [trace for trace in by_name[name].figure.data if trace.customdata is not None]
        assert sum(len(trace.customdata) for trace in traces) == len(ended.evaluations) == 40
        [star] = [trace for trace in traces if trace.marker.symbol == "star"]
        assert list(star.customdata) == [ended.highlighted[0]]
        assert star.text[0].startswith(f"{ended.highlighted[0]} step {ended.highlighted[1]}: ")
    assert by_name["pareto"].caption.startswith("Accuracy against drift of 40 checkpoints; ")


def test_no_checkpoint_beats_one_on_the_front_in_both(ended: ReportData) -> None:
    front = plots([drift_section(ended)])["pareto"].figure.data[0]
    points = [(e.drift, e.accuracy(ended.objective)) for _, e in ended.evaluations]
    on_front = list(zip(front.x, front.y, strict=True))
    assert on_front == sorted(on_front)
    assert {*on_front} < {*points}
    for drift, accuracy in points:
        beaten = any(
            (d <= drift and a >= accuracy) and (d, a) != (drift, accuracy) for d, a in points
        )
        assert ((drift, accuracy) in on_front) is not beaten


def test_the_sides_are_chosen_over_rejected(ended: ReportData) -> None:
    record, evaluation = ended.evaluations[0]
    figure = plots([drift_section(ended)])["sides"].figure
    dots = {(x, y) for trace in figure.data for x, y in zip(trace.x, trace.y, strict=True)}
    health = evaluation.health
    assert (health["drift_rejected"], health["drift_chosen"]) in dots
    assert figure.layout.xaxis.title.text == "rejected, signed mean"
    assert record.trial in {trial for trace in figure.data for trial in trace.customdata}


def test_before_any_evaluation_it_says_so(ended: ReportData) -> None:
    section = drift_section(replace(ended, ended_trials=[]))
    assert texts(section) == ["Nothing has been evaluated yet."]
