"""The section that compares the accuracies of winner, runner-up, incumbent and reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from dpo_core.evaluation.outcomes import OBJECTIVES
from dpo_core.wording import counted
from sweeps.report import formatting
from sweeps.report.blocks import (
    NOTHING_EVALUATED,
    Block,
    Column,
    Plot,
    Row,
    Section,
    Table,
    Text,
    number,
    table,
)
from sweeps.report.plots import bars_and_intervals, text_plots
from sweeps.report.plots.bars_and_intervals import Interval
from sweeps.report.report_data import ReportData
from sweeps.run_dir.json_types import CandidateJson, DifferenceJson, ScoresJson, SplitScoresJson
from sweeps.selection.split_scores import reference_scores, split_scores

_MOST_SHORTLISTED = 20
_SHORTLIST_NOTE = Text(
    "Differences are paired over prompt groups; p-values are corrected for the number of candidates.",
    "note",
)
_SPLITS: tuple[Literal["final", "select"], ...] = ("final", "select")


@dataclass(frozen=True)
class _PolicyScores:
    """One policy's scores on one split."""

    policy: str
    split: str
    scores: ScoresJson


def comparison_section(data: ReportData) -> Section:
    """Show the accuracy of each policy with its interval, and the shortlist of candidates."""
    policies = _scored_policies(data)
    if not policies:
        return Section("compared", "Comparison", (NOTHING_EVALUATED,))
    blocks: list[Block] = [_plot(data.objective, policies), _table(data, policies)]
    shortlist = [c for c in data.selection.get("candidates") or [] if c["shortlisted"]]
    if shortlist:
        blocks += [_shortlist(data, shortlist), _SHORTLIST_NOTE]
    return Section("compared", "Comparison", tuple(blocks))


def _scored_policies(data: ReportData) -> list[_PolicyScores]:
    """Return the scores of every policy in selection.json; before that, those of the best so far."""
    selection = data.selection
    if not selection.get("winner"):
        outcomes = data.outcomes.get("select")
        if outcomes is None:
            return []
        scores = split_scores(outcomes, data.objective, groups=data.groups_of(outcomes))
        return [
            _PolicyScores(data.highlighted_label, "select", scores),
            _PolicyScores("reference", "select", reference_scores(outcomes, data.objective)),
        ]
    policies: dict[str, SplitScoresJson | None] = {
        data.highlighted_label: cast("SplitScoresJson", selection),
        "runner-up": selection.get("runner_up"),
        "incumbent": selection.get("incumbent"),
        "reference": selection.get("reference"),
    }
    return [
        _PolicyScores(policy, split, by_split[split])
        for policy, by_split in policies.items()
        if by_split
        for split in _SPLITS
        if by_split.get(split)
    ]


def _plot(objective: str, policies: Sequence[_PolicyScores]) -> Plot:
    intervals = [_interval(policy) for policy in policies]
    lines = text_plots.draw_intervals(
        [f"{interval.name}, {interval.group}" for interval in intervals],
        [interval.middle for interval in intervals],
        [interval.bounds or (interval.middle, interval.middle) for interval in intervals],
    )
    figure = bars_and_intervals.draw_intervals(intervals, "accuracy with its 95 % interval")
    return Plot("compared", f"{objective} with 95 % intervals", figure, lines)


def _interval(policy: _PolicyScores) -> Interval:
    accuracy, bounds = policy.scores["accuracy"], policy.scores.get("interval")
    label = f"{policy.policy}, {policy.split}: {formatting.percent(accuracy)}"
    return Interval(
        policy.policy,
        policy.split,
        accuracy,
        (bounds[0], bounds[1]) if bounds else None,
        f"{label} ({formatting.percent_interval(bounds)})" if bounds else label,
    )


def _table(data: ReportData, policies: Sequence[_PolicyScores]) -> Table:
    columns = [
        Column("policy"),
        Column("split"),
        number("correct + ½ ties"),
        number("95 % interval"),
        *(number(name.removesuffix("_accuracy").replace("_", " ")) for name in OBJECTIVES),
        number("drift of chosen"),
        number("displaced"),
    ]
    rows = [
        Row(_cells(policy), marked=policy.policy == data.highlighted_label) for policy in policies
    ]
    return table(
        f"All three accuracies; counts and intervals are those of {data.objective}", columns, rows
    )


def _cells(policy: _PolicyScores) -> tuple[str, ...]:
    scores = policy.scores
    accuracies = cast("Mapping[str, float]", scores)
    failure_modes = scores.get("health", {})
    return (
        policy.policy,
        policy.split,
        f"{scores['correct']} + ½·{scores['ties']} of {scores['total']}",
        formatting.percent_interval(scores.get("interval")),
        *(formatting.percent(accuracies.get(name)) for name in OBJECTIVES),
        formatting.nats(failure_modes.get("drift_chosen")),
        formatting.percent(failure_modes.get("displaced")),
    )


def _shortlist(data: ReportData, shortlist: Sequence[CandidateJson]) -> Table:
    """Return the shortlisted candidates with their paired differences from other policies."""
    others = list(shortlist[0].get("against") or {})
    columns = [Column("trial"), number("step"), number("accuracy"), number("standard error")]
    columns.append(number("drift"))
    for other in others:
        columns += [number(f"points against {other}"), number("95 % interval"), number("p, Holm")]
    rows = [
        Row(
            (
                candidate["trial"],
                str(candidate["step"]),
                formatting.percent(candidate["accuracy"]),
                formatting.percentage_points(candidate["standard_error"]).removeprefix("+"),
                formatting.value(candidate.get("drift")),
                *(cell for other in others for cell in _difference(candidate["against"][other])),
            ),
            trial=candidate["trial"],
            marked=(candidate["trial"], candidate["step"]) == data.highlighted,
        )
        for candidate in shortlist[:_MOST_SHORTLISTED]
    ]
    caption = (
        f"Shortlist of {counted(len(shortlist), 'checkpoint')} not distinguishable from "
        "the most accurate one on select"
    )
    return table(caption, columns, rows)


def _difference(row: DifferenceJson) -> tuple[str, str, str]:
    """Return the cells of difference, interval and p-value; empty ones for a policy and itself."""
    if row["interval"][0] == row["interval"][1] == 0:
        return (formatting.MISSING,) * 3
    return (
        formatting.signed_points(row["difference"]),
        formatting.points_interval(row["interval"]),
        formatting.p_value(row["p_holm"]),
    )
