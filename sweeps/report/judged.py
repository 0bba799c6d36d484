"""How good the winner is, and at what price: intervals, slices, margins, drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dpo_core.evaluation import OBJECTIVES, Count, Outcomes, label_slices, length_slices
from dpo_core.health import health
from sweeps.records.pareto import pareto_front
from sweeps.records.selection import Candidate
from sweeps.records.statistics import wilson_interval
from sweeps.report import figures, shown, text_plots
from sweeps.report.blocks import Block, Column, Grid, Plot, Row, Section, Table, Text, number, table
from sweeps.report.evidence import Evidence
from sweeps.report.figures import Dot, Range
from sweeps.report.searched import norm_of

_TEXT_BINS = 12
_NOTHING = Text("Nothing has been evaluated yet.", "note")


def compared_section(evidence: Evidence) -> Section:
    """Reference, winner, runner-up and incumbent with their intervals."""
    found = _compared(evidence)
    if not found:
        return Section("compared", "How sure", (_NOTHING,))
    entries = [_range(name, split, scores) for name, split, scores in found]
    names = [f"{e.name}, {e.group}" for e in entries]
    bounds = [e.bounds or (e.middle, e.middle) for e in entries]
    lines = text_plots.ranges(names, [e.middle for e in entries], bounds)
    figure = figures.ranges(entries, "accuracy with its 95 % interval")
    caption = f"{evidence.objective} with 95 % Wilson intervals"
    blocks = (Plot("compared", caption, figure, lines), _compared_table(found))
    return Section("compared", "How sure", blocks)


def slices_section(evidence: Evidence) -> Section:
    """Length slices, sources, categories, and the margins of every pair."""
    split = evidence.judged_split
    if split is None:
        return Section("slices", "Where it is right", (_NOTHING,))
    outcomes = evidence.outcomes[split]
    slices = _slices(evidence, outcomes)
    entries = [
        Range(name, split, c.accuracy, wilson_interval(c), f"{name}: {_told(c)}")
        for name, c in slices
    ]
    names = [entry.name for entry in entries]
    bounds = [wilson_interval(count) for _, count in slices]
    blocks: tuple[Block, ...] = (
        Grid(
            (
                Plot(
                    "slices",
                    f"Accuracy of slices of the {split} split",
                    figures.ranges(entries, "accuracy with its 95 % interval"),
                    text_plots.ranges(names, [entry.middle for entry in entries], bounds),
                ),
                _margins(evidence, outcomes, split),
            )
        ),
        Text(_length_sentence(evidence, outcomes), "note"),
        _slice_table(slices, split),
    )
    return Section("slices", "Where it is right", blocks)


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


def drift_of(candidate: Candidate) -> float:
    """How far the policy moved: the larger of both sides' drifts, nats a token, without its sign."""
    sides = candidate.evaluation.health
    return max(
        abs(float(sides[name])) for name in ("drift_chosen", "drift_rejected") if name in sides
    )


def _drift_plots(evidence: Evidence) -> tuple[Plot, ...]:
    dots = [_drift_dot(evidence, candidate) for candidate in evidence.candidates]
    front = pareto_front(
        [(float(dot.x), dot.y) for dot in dots], lambda point: (point[1], point[0])
    )
    xs, ys = [float(dot.x) for dot in dots], [dot.y for dot in dots]
    on_front = set(front)
    marks = ["#" if each in on_front else "·" for each in zip(xs, ys, strict=True)]
    pareto = Plot(
        "pareto",
        f"Accuracy against drift, {len(dots)} checkpoints; the line joins those that no other beats "
        "in both",
        figures.scatter(dots, "drift, nats a token", "accuracy, select", front=front),
        (*text_plots.scatter(xs, ys, marks), f"{'':>10}# on the front"),
    )
    sides = [_side_dot(evidence, candidate) for candidate in evidence.candidates]
    figure = figures.scatter(
        sides, "drift of rejected", "drift of chosen", y_shares=False, zero_lines=True
    )
    return pareto, Plot("sides", "Drift of chosen against rejected answers, nats a token", figure)


def _drift_dot(evidence: Evidence, candidate: Candidate) -> Dot:
    accuracy = candidate.evaluation.accuracy(evidence.objective)
    return Dot(
        candidate.trial,
        norm_of(candidate.point),
        drift_of(candidate),
        accuracy,
        f"{candidate.trial} step {candidate.step}: {shown.share(accuracy)}, "
        f"drift {drift_of(candidate):.3f}",
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
        f"{candidate.trial} step {candidate.step}: chosen {shown.nats(chosen)}, "
        f"rejected {shown.nats(rejected)}",
        marked=(candidate.trial, candidate.step) == evidence.subject,
    )


def _compared(evidence: Evidence) -> list[tuple[str, str, Mapping[str, Any]]]:
    """(who, split, scores) for everyone that selection.json scores; the best so far before that."""
    selection = evidence.selection
    if not selection.get("winner"):
        outcomes = evidence.outcomes.get("select")
        if outcomes is None:
            return []
        so_far = {evidence.subject_name: outcomes, "reference": outcomes.as_reference}
        return [(who, "select", _scores(evidence, of)) for who, of in so_far.items()]
    holders = {
        "winner": selection,
        "runner-up": selection.get("runner_up"),
        "incumbent": selection.get("incumbent"),
        "reference": selection.get("reference"),
    }
    return [
        (who, split, holder[split])
        for who, holder in holders.items()
        if holder
        for split in ("final", "select")
        if holder.get(split)
    ]


def _scores(evidence: Evidence, outcomes: Outcomes) -> dict[str, Any]:
    count = outcomes.count(evidence.objective)
    accuracies = {name: of.accuracy for name, of in outcomes.counts().items()}
    interval = list(wilson_interval(count))
    return {**count.as_dict(), **accuracies, "interval": interval, "health": health(outcomes)}


def _range(name: str, split: str, scores: Mapping[str, Any]) -> Range:
    bounds = scores.get("interval")
    about = f"{name}, {split}: {shown.share(scores['accuracy'])} ({shown.interval(bounds)})"
    return Range(name, split, scores["accuracy"], tuple(bounds) if bounds else None, about)


def _compared_table(found: Sequence[tuple[str, str, Mapping[str, Any]]]) -> Table:
    columns = [
        Column("who"),
        Column("split"),
        number("correct + ½ ties"),
        number("accuracy"),
        number("95 % interval"),
        *map(number, OBJECTIVES),
        number("drift of chosen"),
        number("displaced"),
    ]
    rows = []
    for who, split, scores in found:
        sides = scores.get("health", {})
        counted = "correct" in scores
        cells = (
            who,
            split,
            f"{scores['correct']} + ½·{scores['ties']} of {scores['total']}" if counted else None,
            shown.share(scores["accuracy"]),
            shown.interval(scores.get("interval")),
            *(shown.share(scores.get(name)) for name in OBJECTIVES),
            shown.nats(sides.get("drift_chosen")),
            shown.share(sides.get("displaced")),
        )
        rows.append(Row(cells, marked=who == "winner"))
    return table("All three accuracies", columns, rows)


def _slices(evidence: Evidence, outcomes: Outcomes) -> list[tuple[str, Count]]:
    gap = outcomes.chosen_tokens - outcomes.rejected_tokens
    found = [
        ("all pairs", outcomes.count(evidence.objective)),
        ("chosen longer", outcomes.count(evidence.objective, gap > 0)),
        ("chosen shorter", outcomes.count(evidence.objective, gap < 0)),
    ]
    labels = {
        kind: {i: row.get(kind) for i, row in evidence.pairs.items()}
        for kind in ("source", "category")
    }
    for kind, values in label_slices(outcomes, evidence.objective, labels).items():
        found += [
            (f"{kind}: {name}", Count(of["correct"], of["ties"], of["total"]))
            for name, of in values.items()
        ]
    return [(name, count) for name, count in found if count.total]


def _told(count: Count) -> str:
    interval = shown.interval(wilson_interval(count))
    return f"{shown.share(count.accuracy)} of {count.total} ({interval})"


def _slice_table(slices: Sequence[tuple[str, Count]], split: str) -> Table:
    columns = [Column("slice"), number("pairs"), number("accuracy"), number("95 % interval")]
    rows = [
        Row((name, str(c.total), shown.share(c.accuracy), shown.interval(wilson_interval(c))))
        for name, c in slices
    ]
    return table(f"Slices of the {split} split", columns, rows)


def _margins(evidence: Evidence, outcomes: Outcomes, split: str) -> Plot:
    margins = outcomes.margins(evidence.objective)
    gap = outcomes.chosen_tokens - outcomes.rejected_tokens
    parts = {"chosen longer": gap > 0, "chosen shorter": gap < 0, "same length": gap == 0}
    values = {name: margins[where].tolist() for name, where in parts.items() if where.any()}
    unit = "nats a token" if evidence.objective == "token_reward_accuracy" else "nats"
    figure = figures.histogram(values, f"margin, {unit}; right of zero is right")
    counts, edges = np.histogram(margins[np.isfinite(margins)], bins=_TEXT_BINS)
    starts = [f"{shown.nats(left)} {unit} and more" for left in edges[:-1]]
    lines = text_plots.bars(starts, counts.tolist(), [str(count) for count in counts])
    return Plot("margins", f"Margins of {len(margins)} {split} pairs", figure, lines)


def _length_sentence(evidence: Evidence, outcomes: Outcomes) -> str:
    told = length_slices(outcomes, evidence.objective)
    correlation = told["margin_length_correlation"]
    return (
        f"Length-controlled accuracy, the mean of the longer and the shorter slice: "
        f"{shown.share(told['length_controlled'])}. Guessing that the longer answer wins: "
        f"{shown.share(told['longer_wins'])}. Correlation of margin and length difference: "
        f"{shown.value(correlation)}."
    )
