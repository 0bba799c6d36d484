"""What a sweep tells: progress lines on stderr while it runs, tables at the end.

Lines, not a redrawn screen: the same output reads well in a terminal and in a job's log.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from dpo_core.evaluation.outcomes import OBJECTIVES
from sweeps.selection.guardrails import broken
from sweeps.selection.leaderboard import searched_trial, winner_first, winner_label
from sweeps.selection.ordering import ScoredCheckpoint, best_so_far

log = logging.getLogger("dpo_sweeps")


class Progress:
    """Prints one line per thing that happened, with the time since the start."""

    def __init__(self, *, trials: int, steps: int | None, objective: str) -> None:
        self.trials, self.steps, self.objective = trials, steps, objective
        self.ended = 0
        self.best: ScoredCheckpoint | None = None

    def tell(self, happening: Any) -> None:
        """The runner's events; see `sweeps.trials.events.Happening`."""
        kind, trial = happening.kind, happening.trial
        if kind == "started":
            log.info(f"{trial} started   {show_point(happening.point)}")
        elif kind == "evaluated":
            self._evaluated(trial, happening.metrics)
        else:
            self.ended += 1
            why = f": {happening.reason}, {_detail(happening)}" if happening.reason else ""
            log.info(f"{trial} {kind}{why}   ({self.ended} of {self.trials} trials)")

    def _evaluated(self, trial: str, metrics: Mapping[str, Any]) -> None:
        accuracy, step = metrics["accuracy"], metrics["global_step"]
        checkpoint = ScoredCheckpoint(trial, step, accuracy, metrics["drift"])
        self.best = best_so_far(self.best, checkpoint)
        of = f"/{self.steps}" if self.steps else ""
        best = f"best {self.best.accuracy:.3f} {self.best.trial} step {self.best.step}"
        log.info(
            f"{trial} step {step}{of}   {self.objective} {accuracy:.3f}   "
            f"loss {metrics['loss']:.4f}   {best}"
        )


def show_point(point: Mapping[str, Any]) -> str:
    return "  ".join(f"{name}={show_value(value)}" for name, value in point.items())


def show_value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def leaderboard(selection: Mapping[str, Any], rows: int = 20) -> Table:
    """Return the table of the trials: the winner's first and marked, the others best first.

    A row shows its trial's best checkpoint; the winner may be an earlier one that drifted less.
    """
    candidates = selection["candidates"]
    exclusions = {(c["trial"], c["step"]): _exclusions(c, selection) for c in candidates}
    won = selection["winner"]
    trials = winner_first(selection["trials"], won and won["trial"])
    names = list(dict.fromkeys(name for t in trials for name in t["point"]))
    table = Table(title=f"{len(trials)} trials by {selection['objective']} on the select split")
    for column in ("trial", "accuracy", "step", *names, "drift", "status"):
        table.add_column(column, justify="left" if column in ("trial", "status") else "right")
    for trial in trials[:rows]:
        accuracy = "-" if trial["accuracy"] is None else f"{trial['accuracy']:.3f}"
        drift = "-" if trial["drift_chosen"] is None else f"{trial['drift_chosen']:+.3f}"
        values = [show_value(trial["point"].get(name, "-")) for name in names]
        status = trial["status"] + (f": {trial['reason']}" if trial["reason"] else "")
        excluded = exclusions.get((trial["trial"], trial["step"]))
        status += f"; excluded: {', '.join(excluded)}" if excluded else ""
        step = "-" if trial["step"] is None else str(trial["step"])
        is_winner = bool(won) and trial["trial"] == searched_trial(won["trial"])
        if is_winner:
            status = f"{winner_label(won['trial'], won['step'])}; {status}"
        style = "bold" if is_winner else None
        table.add_row(trial["trial"], accuracy, step, *values, drift, escape(status), style=style)
    return table


def winner(selection: Mapping[str, Any]) -> Panel:
    """Its numbers beside those of what it is held against, and the guardrails it breaks."""
    won, incumbent = selection["winner"], selection["incumbent"]
    table = Table.grid(padding=(0, 3))
    others = [("untouched model", selection["reference"])]
    if incumbent:
        others.append((f"incumbent {incumbent['name']}", incumbent))
    heads = (escape(name) for name, _ in others)
    table.add_row("", "correct + ½ ties", "accuracy", "95 % interval", *heads)
    splits = [split for split in ("select", "final") if split in selection]
    for split in splits:
        score = selection[split]
        low, high = score["interval"]
        table.add_row(
            split,
            f"{score['correct']} + ½·{score['ties']} of {score['total']}",
            f"{score['accuracy']:.3f}",
            f"{low:.3f} to {high:.3f}",
            *(f"{of[split]['accuracy']:.3f}" for _, of in others),
        )
    table.add_row()
    for name in OBJECTIVES:
        numbers = [of[splits[-1]][name] for of in (selection, *(of for _, of in others))]
        mine, *theirs = (f"{number:.3f}" for number in numbers)
        table.add_row(splits[-1], name, mine, "", *theirs)
    for line in warnings(selection):
        table.add_row("warning", line)
    title = f"winner: {won['trial']} at step {won['step']}   {show_point(won['point'])}"
    subtitle = escape(won["path"]) if won["path"] else None
    return Panel(table, title=title, subtitle=subtitle, expand=False)


def confirmation(selection: Mapping[str, Any]) -> Table | None:
    """What the best points of the search were with new seeds; None when none was trained again."""
    points: Sequence[Mapping[str, Any]] = selection["confirmation"]
    if not points:
        return None
    table = Table(title=f"{len(points)} points trained again with new seeds, by their means")
    for column in ("trial", "step", "search", "mean", "spread", "seeds", "failed"):
        table.add_column(column, justify="left" if column in ("trial", "failed") else "right")
    for point in points:
        mean, spread = (
            "-" if point[name] is None else f"{point[name]:.3f}" for name in ("mean", "spread")
        )
        failed = ", ".join(f"{t['trial']}: {t['reason']}" for t in point["missing"])
        table.add_row(
            point["trial"],
            str(point["step"]),
            f"{point['search_score']:.3f}",
            mean,
            spread,
            str(len(point["seeds"])),
            escape(failed),
        )
    return table


def _exclusions(candidate: Mapping[str, Any], selection: Mapping[str, Any]) -> list[str]:
    rails, limits = candidate["guardrails"], selection["guardrails"]
    return [
        name
        for name, check in rails.items()
        if check["passed"] is False and limits[name]["action"] == "exclude"
    ]


def warnings(selection: Mapping[str, Any]) -> list[str]:
    """A line for each guardrail that the winner breaks and that only warns."""
    won = selection["winner"]
    rails = next(
        c["guardrails"]
        for c in selection["candidates"]
        if (c["trial"], c["step"]) == (won["trial"], won["step"])
    )
    return [
        broken(name, check["value"], check["limit"])
        for name, check in rails.items()
        if check["passed"] is False
    ]


def nights(rows: Sequence[Mapping[str, Any]]) -> Table:
    """How the nights went; see `sweeps.nightly.trend`."""
    table = Table(title="nights")
    for column in ("night", "verdict", "final", "incumbent", "control", "trials", "failed"):
        table.add_column(column, justify="left" if column in ("night", "verdict") else "right")
    table.add_column("worker hours", justify="right")
    for row in rows:
        accuracies = (
            "-" if row[n] is None else f"{row[n]:.3f}" for n in ("final", "incumbent_final")
        )
        control = "-" if row["control"] is None else f"{row['control']:.3f}"
        counts = (str(row[name]) for name in ("trials", "failed"))
        verdict = row["verdict"] + (" *" if row["promoted"] else "")
        hours = f"{row['worker_hours']:.1f}"
        table.add_row(row["night"], verdict, *accuracies, control, *counts, hours)
    table.caption = "* became the incumbent; control: its point, trained again, on select"
    return table


def failures(selection: Mapping[str, Any]) -> str | None:
    """One sentence when some trials failed, else None."""
    failed = [t for t in selection["trials"] if t["status"] == "failed"]
    if not failed:
        return None
    reasons = "; ".join(f"{t['trial']}: {t['reason']} ({t['detail']})" for t in failed)
    return f"{len(failed)} of {len(selection['trials'])} trials failed: {reasons}"


def _detail(happening: Any) -> str:
    return str(happening.metrics["record"].detail)
