"""How good the winner is and how sure that is, beside reference, runner-up and incumbent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dpo_core.evaluation.failure_modes import drift_and_displacement
from dpo_core.evaluation.outcomes import OBJECTIVES, Outcomes
from sweeps.report import formatting
from sweeps.report.blocks import Block, Column, Plot, Row, Section, Table, Text, number, table
from sweeps.report.plots import bars_and_intervals, text_plots
from sweeps.report.plots.bars_and_intervals import Range
from sweeps.report.report_data import Evidence
from sweeps.selection.statistics import wilson_interval

_MOST_SHORTLISTED = 20
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
    figure = bars_and_intervals.ranges(entries, "accuracy with its 95 % interval")
    caption = f"{evidence.objective} with 95 % Wilson intervals"
    blocks: list[Block] = [Plot("compared", caption, figure, lines)]
    blocks.append(_compared_table(evidence.objective, found))
    shortlist = _shortlist(evidence)
    return Section("compared", "How sure", tuple(blocks + ([shortlist] if shortlist else [])))


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
    return {
        **count.as_dict(),
        **accuracies,
        "interval": interval,
        "health": drift_and_displacement(outcomes),
    }


def _range(name: str, split: str, scores: Mapping[str, Any]) -> Range:
    bounds = scores.get("interval")
    about = (
        f"{name}, {split}: {formatting.share(scores['accuracy'])} ({formatting.interval(bounds)})"
    )
    return Range(name, split, scores["accuracy"], tuple(bounds) if bounds else None, about)


def _compared_table(objective: str, found: Sequence[tuple[str, str, Mapping[str, Any]]]) -> Table:
    columns = [
        Column("who"),
        Column("split"),
        number("correct + ½ ties"),
        number("95 % interval"),
        *(number(name.removesuffix("_accuracy").replace("_", " ")) for name in OBJECTIVES),
        number("drift of chosen"),
        number("displaced"),
    ]
    rows = []
    for who, split, scores in found:
        sides = scores.get("health", {})
        cells = (
            who,
            split,
            f"{scores['correct']} + ½·{scores['ties']} of {scores['total']}",
            formatting.interval(scores.get("interval")),
            *(formatting.share(scores.get(name)) for name in OBJECTIVES),
            formatting.nats(sides.get("drift_chosen")),
            formatting.share(sides.get("displaced")),
        )
        rows.append(Row(cells, marked=who == "winner"))
    return table(f"All three accuracies; counts and interval are of {objective}", columns, rows)


def _shortlist(evidence: Evidence) -> Table | None:
    """Who could not be told from the best, with paired differences on select."""
    listed = [c for c in evidence.selection.get("candidates") or [] if c["shortlisted"]]
    if not listed:
        return None
    others = list(listed[0].get("against") or {})
    columns = [Column("trial"), number("step"), number("accuracy"), number("standard error")]
    columns.append(number("drift"))
    for other in others:
        columns += [number(f"points against {other}"), number("95 % interval"), number("p, Holm")]
    rows = [
        Row(
            (
                c["trial"],
                str(c["step"]),
                formatting.share(c["accuracy"]),
                formatting.points(c["standard_error"]).removeprefix("+"),
                formatting.value(c.get("drift")),
                *(cell for other in others for cell in _against(c["against"][other])),
            ),
            trial=c["trial"],
            marked=(c["trial"], c["step"]) == evidence.subject,
        )
        for c in listed[:_MOST_SHORTLISTED]
    ]
    caption = (
        f"Shortlist: {len(listed)} checkpoints not told from the most accurate on select; paired over "
        "prompt groups, p-values corrected for the number of candidates"
    )
    return table(caption, columns, rows)


def _against(told: Mapping[str, Any]) -> tuple[str, str, str]:
    low, high = told["interval"]
    if low == high == 0:  # the best one against itself
        return (formatting.MISSING,) * 3
    difference, low_, high_ = (
        formatting.points(v).removesuffix(" points") for v in (told["difference"], low, high)
    )
    return difference, f"{low_} to {high_}", formatting.p_value(told["p_holm"])
