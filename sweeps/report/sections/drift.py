"""The section on drift: how far the checkpoints moved from the reference, and what they gained."""

from __future__ import annotations

from dpo_core.wording import counted
from sweeps.report import formatting
from sweeps.report.blocks import NOTHING_EVALUATED, Grid, Plot, Section, Text
from sweeps.report.plots import scatter, text_plots
from sweeps.report.plots.scatter import Dot
from sweeps.report.plots.style import normalization_of
from sweeps.report.report_data import ReportData
from sweeps.run_dir.ledger import FAILED, EvaluationRecord, TrialRecord
from sweeps.selection.pareto import pareto_front


def drift_section(data: ReportData) -> Section:
    """Plot accuracy against drift with the Pareto front, and drift of chosen against rejected."""
    if not data.evaluations:
        return Section("drift", "Drift from the reference", (NOTHING_EVALUATED,))
    note = Text(
        "Drift is the mean of |log π − log π_ref| per token, in nats, over held-out answers, of "
        "chosen or rejected ones, whichever is larger; it is not KL(π‖π_ref). The plot of the two "
        "sides keeps the sign: where chosen answers are below zero, answers that people preferred "
        "have on average become less likely.",
        "note",
    )
    plots = Grid((_accuracy_plot(data), _sides_plot(data)))
    return Section("drift", "Drift from the reference", (plots, note))


def _accuracy_plot(data: ReportData) -> Plot:
    dots = [_accuracy_dot(data, *each) for each in data.evaluations]
    points = [(dot.x, dot.y) for dot in dots]
    able = [
        point
        for point, (record, evaluation) in zip(points, data.evaluations, strict=True)
        if evaluation.can_win and record.status != FAILED
    ]
    front = sorted(pareto_front(able, lambda point: (point[1], point[0])))
    on_front = set(front)
    marks = ["#" if point in on_front else "·" for point in points]
    lines = text_plots.draw_scatter([dot.x for dot in dots], [dot.y for dot in dots], marks)
    caption = (
        f"Accuracy against drift of {counted(len(dots), 'checkpoint')}; the line joins "
        "those that can win and that no other of them beats in both"
    )
    figure = scatter.draw_scatter(
        dots,
        "drift, nats per token",
        "accuracy, select",
        front=front,
        marked_label=data.highlighted_label,
    )
    return Plot("pareto", caption, figure, (*lines, f"{'':>10}# on the front"))


def _sides_plot(data: ReportData) -> Plot:
    figure = scatter.draw_scatter(
        [_sides_dot(data, *each) for each in data.evaluations],
        "rejected, signed mean",
        "chosen, signed mean",
        y_shares=False,
        zero_lines=True,
        marked_label=data.highlighted_label,
    )
    return Plot("sides", "How far chosen and rejected answers rose or fell, nats per token", figure)


def _accuracy_dot(data: ReportData, record: TrialRecord, evaluation: EvaluationRecord) -> Dot:
    accuracy = evaluation.accuracy(data.objective)
    return Dot(
        record.trial,
        normalization_of(record.point),
        evaluation.drift,
        accuracy,
        f"{record.trial} step {evaluation.step}: {formatting.percent(accuracy)}, "
        f"drift {evaluation.drift:.3f}",
        marked=(record.trial, evaluation.step) == data.highlighted,
    )


def _sides_dot(data: ReportData, record: TrialRecord, evaluation: EvaluationRecord) -> Dot:
    health = evaluation.health
    chosen, rejected = health.get("drift_chosen", 0.0), health.get("drift_rejected", 0.0)
    return Dot(
        record.trial,
        normalization_of(record.point),
        rejected,
        chosen,
        f"{record.trial} step {evaluation.step}: chosen {formatting.nats(chosen)}, "
        f"rejected {formatting.nats(rejected)}",
        marked=(record.trial, evaluation.step) == data.highlighted,
    )
