"""Progress lines on stderr while a sweep runs, and tables of its result at the end.

Progress is printed line by line, which reads well in a terminal and in the log of a job.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from rich.console import Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from dpo_core.evaluation.outcomes import OBJECTIVES
from dpo_core.wording import counted
from sweeps.run_dir.json_types import (
    ConfirmationJson,
    NightRow,
    ScoresJson,
    SelectionJson,
    SplitScoresJson,
    WinnerJson,
)
from sweeps.selection.effect import effect_sentences
from sweeps.selection.eligibility import violations_in_words
from sweeps.selection.guardrails import describe_failed_check
from sweeps.selection.leaderboard import (
    exclusions_in_words,
    searched_trial,
    winner_first,
    winner_label,
)
from sweeps.selection.ordering import ScoredCheckpoint, best_so_far
from sweeps.selection.trial_counts import trial_counts_in_words
from sweeps.selection.verdict import role_of_choice
from sweeps.trials.events import TrialEvent

log = logging.getLogger("dpo_sweeps")

SCORED_SPLITS: Final[tuple[Literal["select"], Literal["final"]]] = ("select", "final")


class Progress:
    """Logs one line for each event of a trial, with the best checkpoint so far."""

    def __init__(self, *, steps: int | None, objective: str) -> None:
        self.steps, self.objective = steps, objective
        self.best: ScoredCheckpoint | None = None

    def on_event(self, event: TrialEvent) -> None:
        """Print the line of one event of a trial."""
        trial, record = event.trial, event.record
        if event.kind == "started":
            log.info(f"{trial} started   {show_point(event.point)}")
        elif event.kind == "evaluated":
            self._evaluated(trial, event.metrics)
        else:
            why = f": {record.reason}, {record.detail}" if record and record.reason else ""
            log.info(f"{trial} {event.kind}{why}   ({event.progress})")

    def _evaluated(self, trial: str, metrics: Mapping[str, Any]) -> None:
        accuracy, step = metrics["accuracy"], metrics["global_step"]
        checkpoint = ScoredCheckpoint(
            trial, step, accuracy, metrics["chosen_gain"], metrics["drift"], metrics["violations"]
        )
        self.best = best_so_far(self.best, checkpoint)
        of = f"/{self.steps}" if self.steps else ""
        best = (
            f"best {self.best.accuracy:.3f} {self.best.trial} step {self.best.step}"
            if self.best.can_win
            else f"none can win yet: {', '.join(violations_in_words(self.best.violations))}"
        )
        log.info(
            f"{trial} step {step}{of}   {self.objective} {accuracy:.3f}   "
            f"loss {metrics['loss']:.4f}   {best}"
        )


def show_point(point: Mapping[str, object]) -> str:
    """Return a sampled point as one line."""
    return "  ".join(f"{name}={show_value(value)}" for name, value in point.items())


def show_value(value: object) -> str:
    """Return a sampled value with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def leaderboard(selection: SelectionJson, rows: int = 20) -> Table:
    """Return the table of the search's trials: the winner's first and marked, the others best first.

    A row shows its trial's best checkpoint; the winner may be another one of that trial.
    """
    candidates = selection["candidates"]
    exclusions: dict[tuple[str, int | None], list[str]] = {
        (c["trial"], c["step"]): exclusions_in_words(c, selection["guardrails"]) for c in candidates
    }
    chosen, word = selection["winner"], selection["verdict"]["word"]
    trials = winner_first(selection["trials"], chosen and chosen["trial"])
    names = list(dict.fromkeys(name for t in trials for name in t["point"]))
    table = Table(
        title=f"{trial_counts_in_words(selection)}, by {selection['objective']} on the select split"
    )
    for column in ("trial", "accuracy", "step", *names, "drift", "status"):
        table.add_column(column, justify="left" if column in ("trial", "status") else "right")
    for trial in trials[:rows]:
        accuracy = "-" if trial["accuracy"] is None else f"{trial['accuracy']:.3f}"
        drift = "-" if trial["drift_chosen"] is None else f"{trial['drift_chosen']:+z.3f}"
        values = [show_value(trial["point"].get(name, "-")) for name in names]
        status = trial["status"] + (f": {trial['reason']}" if trial["reason"] else "")
        excluded = exclusions.get((trial["trial"], trial["step"]))
        status += f"; excluded: {', '.join(excluded)}" if excluded else ""
        step = "-" if trial["step"] is None else str(trial["step"])
        style = None
        if chosen and trial["trial"] == searched_trial(chosen["trial"]):
            label = winner_label(chosen["trial"], chosen["step"], role_of_choice(word))
            status = f"{label}; {status}"
            style = "bold"
        table.add_row(trial["trial"], accuracy, step, *values, drift, escape(status), style=style)
    return table


def winner(selection: SelectionJson) -> Panel:
    """Return a box with the winner's scores beside the reference's and the incumbent's.

    Below them stand what it did to the held-out pairs and each guardrail that it breaks and that
    only warns. It is called a winner where it is better than what it is compared with. Needs a
    selection with a winner.
    """
    chosen, incumbent = _winner_of(selection), selection["incumbent"]
    table = Table.grid(padding=(0, 3))
    others: list[tuple[str, SplitScoresJson]] = [("untouched model", selection["reference"])]
    if incumbent:
        others.append((f"incumbent {incumbent['name']}", incumbent))
    headings = (escape(name) for name, _ in others)
    table.add_row("", "correct + ½ ties", "accuracy", "95 % interval", *headings)
    splits = [split for split in SCORED_SPLITS if split in selection]
    for split in splits:
        score = selection[split]
        table.add_row(
            split,
            f"{score['correct']} + ½·{score['ties']} of {score['total']}",
            f"{score['accuracy']:.3f}",
            _interval(score),
            *(f"{scores[split]['accuracy']:.3f}" for _, scores in others),
        )
    table.add_row()
    last = splits[-1]
    columns = [_accuracies(selection[last]), *(_accuracies(scores[last]) for _, scores in others)]
    for name, *accuracies in zip(OBJECTIVES, *columns, strict=True):
        own, *rest = map(_three_digits, accuracies)
        table.add_row(last, name, own, "", *rest)
    effect = selection["verdict"].get("effect")
    lines = [("effect", line) for line in effect_sentences(effect)] if effect else []
    lines += [("warning", line) for line in warnings(selection)]
    role = role_of_choice(selection["verdict"]["word"])
    title = f"{role}: {chosen['trial']} at step {chosen['step']}   {show_point(chosen['point'])}"
    subtitle = escape(chosen["path"]) if chosen["path"] else None
    notes = Table.grid(padding=(0, 3))
    for kind, line in lines:
        notes.add_row(kind, line)
    return Panel(Group(table, notes), title=title, subtitle=subtitle, expand=False)


def confirmation(selection: SelectionJson) -> Table | None:
    """Return the table of the points trained again with new seeds; None when there are none."""
    points = selection["confirmation"]
    if not points:
        return None
    table = Table(
        title=f"{counted(len(points), 'point')} trained again with new seeds, by their means"
    )
    for column in ("trial", "step", "search", "mean", "spread", "seeds", "failed"):
        table.add_column(column, justify="left" if column in ("trial", "failed") else "right")
    for point in points:
        mean, spread = _three_digits(point["mean"]), _three_digits(point["spread"])
        failed = ", ".join(f"{t['trial']}: {t['reason']}" for t in point["missing"])
        table.add_row(
            point["trial"],
            str(point["step"]),
            f"{point['search_score']:.3f}",
            mean,
            spread,
            _seeds_that_count(point),
            escape(failed),
        )
    return table


def _seeds_that_count(point: ConfirmationJson) -> str:
    seeds = len(point["seeds"])
    counted = sum(point.get("counted", [True] * seeds))
    return str(seeds) if counted == seeds else f"{counted} of {seeds}"


def warnings(selection: SelectionJson) -> list[str]:
    """Return a line for each guardrail that the winner breaks and that only warns."""
    chosen = _winner_of(selection)
    checks = next(
        c["guardrails"]
        for c in selection["candidates"]
        if (c["trial"], c["step"]) == (chosen["trial"], chosen["step"])
    )
    return [
        describe_failed_check(name, check["value"], check["limit"])
        for name, check in checks.items()
        if check["passed"] is False
    ]


def _winner_of(selection: SelectionJson) -> WinnerJson:
    chosen = selection["winner"]
    if chosen is None:
        raise ValueError(f"{selection['sweep']} has no winner")
    return chosen


def _interval(scores: ScoresJson) -> str:
    interval = scores["interval"]
    return "-" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _accuracies(scores: ScoresJson) -> tuple[float, float, float]:
    """Return the accuracies by each of OBJECTIVES."""
    return (
        scores["reward_accuracy"],
        scores["token_reward_accuracy"],
        scores["likelihood_accuracy"],
    )


def _three_digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def nights(rows: Sequence[NightRow]) -> Table:
    """Return the table of the nights."""
    table = Table(title="nights")
    for column in ("night", "verdict", "final", "incumbent", "control", "trials", "failed"):
        table.add_column(column, justify="left" if column in ("night", "verdict") else "right")
    table.add_column("worker hours", justify="right")
    for row in rows:
        table.add_row(
            row["night"],
            (row["verdict"] or "-") + (" *" if row["promoted"] else ""),
            _three_digits(row["final"]),
            _three_digits(row["incumbent_final"]),
            _three_digits(row["control"]),
            str(row["trials"]),
            str(row["failed"]),
            f"{row['worker_hours']:.1f}",
        )
    star = "* became the incumbent; " if any(row["promoted"] for row in rows) else ""
    table.caption = f"{star}control: the incumbent's point, trained again, on select"
    return table


def failures(selection: SelectionJson) -> str | None:
    """Return one sentence when some trials failed, of the search or of the confirmation, else None."""
    of_search = [t for t in selection["trials"] if t["status"] == "failed"]
    of_confirmation = (t for point in selection["confirmation"] for t in point["missing"])
    failed = [*of_search, *of_confirmation]
    if not failed:
        return None
    reasons = "; ".join(f"{t['trial']}: {t['reason']} ({t['detail']})" for t in failed)
    counts = selection.get("trial_counts")
    total = counts["search"] + counts["confirmation"] if counts else len(selection["trials"])
    return f"{counts['failed'] if counts else len(failed)} of {total} trials failed: {reasons}"
