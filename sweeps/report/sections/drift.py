"""What the accuracy cost: drift from the reference, with the Pareto front."""

from __future__ import annotations

from dpo_core.evaluation.failure_modes import largest_drift
from sweeps.report import formatting
from sweeps.report.blocks import Grid, Plot, Section, Text
from sweeps.report.plots import scatter, text_plots
from sweeps.report.plots.scatter import Dot
from sweeps.report.plots.style import norm_of
from sweeps.report.report_data import Evidence
from sweeps.selection.leaderboard import Candidate
from sweeps.selection.pareto import pareto_front

_NOTHING = Text("Nothing has been evaluated yet.", "note")


def drift_section(evidence: Evidence) -> Section:
    """Accuracy against drift with the Pareto front, and chosen against rejected drift."""
    if not evidence.candidates:
        return Section("drift", "Drift from the reference", (_NOTHING,))
    note = Text(
        "Offline drift: mean of log π − log π_ref a token, in nats, over held-out answers; it is not "
        "KL(π‖π_ref). Below zero on the chosen side, answers that people preferred have become less "
        "likely.",
        "note",
    )
    return Section("drift", "Drift from the reference", (Grid(_drift_plots(evidence)), note))


def _drift_plots(evidence: Evidence) -> tuple[Plot, ...]:
    dots = [_drift_dot(evidence, candidate) for candidate in evidence.candidates]
    points = [(float(dot.x), dot.y) for dot in dots]
    front = sorted(pareto_front(points, lambda point: (point[1], point[0])))
    xs, ys = [float(dot.x) for dot in dots], [dot.y for dot in dots]
    on_front = set(front)
    marks = ["#" if each in on_front else "·" for each in zip(xs, ys, strict=True)]
    pareto = Plot(
        "pareto",
        f"Accuracy against drift, {len(dots)} checkpoints; the line joins those that no other beats "
        "in both",
        scatter.scatter(
            dots,
            "drift, nats a token",
            "accuracy, select",
            front=front,
            marked=evidence.subject_name,
        ),
        (*text_plots.scatter(xs, ys, marks), f"{'':>10}# on the front"),
    )
    sides = [_side_dot(evidence, candidate) for candidate in evidence.candidates]
    figure = scatter.scatter(
        sides,
        "drift of rejected",
        "drift of chosen",
        y_shares=False,
        zero_lines=True,
        marked=evidence.subject_name,
    )
    return pareto, Plot("sides", "Drift of chosen against rejected answers, nats a token", figure)


def _drift_dot(evidence: Evidence, candidate: Candidate) -> Dot:
    accuracy = candidate.evaluation.accuracy(evidence.objective)
    return Dot(
        candidate.trial,
        norm_of(candidate.point),
        largest_drift(candidate.evaluation.health),
        accuracy,
        f"{candidate.trial} step {candidate.step}: {formatting.share(accuracy)}, "
        f"drift {largest_drift(candidate.evaluation.health):.3f}",
        marked=(candidate.trial, candidate.step) == evidence.subject,
    )


def _side_dot(evidence: Evidence, candidate: Candidate) -> Dot:
    sides = candidate.evaluation.health
    chosen, rejected = sides.get("drift_chosen", 0.0), sides.get("drift_rejected", 0.0)
    return Dot(
        candidate.trial,
        norm_of(candidate.point),
        rejected,
        chosen,
        f"{candidate.trial} step {candidate.step}: chosen {formatting.nats(chosen)}, "
        f"rejected {formatting.nats(rejected)}",
        marked=(candidate.trial, candidate.step) == evidence.subject,
    )
