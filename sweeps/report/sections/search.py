"""What the search saw: accuracy over each axis, whole points, learning curves, importance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces import LogUniform
from sweeps.report import formatting
from sweeps.report.blocks import Grid, Plot, Section, Text
from sweeps.report.plots import lines, scatter, text_plots
from sweeps.report.plots.lines import Curve
from sweeps.report.plots.scatter import Dot
from sweeps.report.plots.style import norm_of
from sweeps.report.report_data import Evidence
from sweeps.report.sections.leaderboard import accuracy_bounds
from sweeps.run_dir.ledger import FAILED

_NOTHING = Text("Nothing has been evaluated yet.", "note")
_LOG_RATIO = 8.0
_MOST_SPARKLINES = 30
_MOST_LINES = 300


def axes_section(evidence: Evidence) -> Section:
    """A plot an axis with numbers, coloured by normalization."""
    rows = _evaluated(evidence)
    plots = tuple(_axis_plot(evidence, name, rows) for name in _number_axes(rows))
    nothing = Text("All evaluated trials have the same numbers.", "note") if rows else _NOTHING
    return Section("axes", "Accuracy over the space", (Grid(plots),) if plots else (nothing,))


def parallel_section(evidence: Evidence) -> Section:
    rows = _evaluated(evidence)
    names = list(dict.fromkeys(name for row in rows for name in row["point"]))
    if not names:
        return Section("parallel", "Whole points", (_NOTHING,))
    trials = [(row["trial"], row["point"], row["accuracy"]) for row in rows[:_MOST_LINES]]
    marked = next((t for t, _, _ in trials if t in evidence.subject_trials), None)
    logs = frozenset(name for name in names if _is_log(evidence, name, rows))
    figure = lines.parallel(names, trials, logs, marked)
    caption = (
        f"A line is a trial{_of_all(len(rows))}, the brighter the better; below an axis, it does not "
        "exist there"
    )
    return Section("parallel", "Whole points", (Plot("parallel", caption, figure),))


def curves_section(evidence: Evidence) -> Section:
    every = _curves(evidence)
    if not every:
        return Section("curves", "Learning curves", (_NOTHING,))
    drawn = sorted(every, key=lambda line: (not line.marked, -max(line.ys)))[:_MOST_LINES]
    caption = (
        f"{len(drawn)} trials{_of_all(len(every))}; the thick line is the {evidence.subject_name}, a "
        "cross a failure"
    )
    figure = lines.curves(drawn, "optimizer step", f"{evidence.objective}, select")
    plot = Plot("curves", caption, figure, _sparklines(drawn))
    return Section("curves", "Learning curves", (plot,))


def _curves(evidence: Evidence) -> list[Curve]:
    subject = evidence.subject[0] if evidence.subject else None
    return [
        Curve(
            record.trial,
            norm_of(record.point),
            [e.step for e in record.evaluations],
            [e.accuracy(evidence.objective) for e in record.evaluations],
            f"{record.trial} ({record.status}): {formatting.point(record.point)}",
            marked=record.trial == subject,
            broken=record.status == FAILED,
        )
        for record in evidence.records
        if record.evaluations
    ]


def _of_all(count: int) -> str:
    """A browser is slow with more lines than that, and a reader sees nothing among them."""
    return f" (the best {_MOST_LINES} of {count})" if count > _MOST_LINES else ""


def _evaluated(evidence: Evidence) -> list[dict[str, Any]]:
    return [row for row in evidence.rows if row["accuracy"] is not None]


def _number_axes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row["point"])
    return [name for name in names if len(_numbers(name, rows)) > 1]


def _numbers(name: str, rows: Sequence[Mapping[str, Any]]) -> set[float]:
    values = {row["point"].get(name) for row in rows} - {None}
    are_numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return values if are_numbers else set()


def _is_log(evidence: Evidence, name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    branches = evidence.config.search_space.axes.get(name, ())
    if any(isinstance(branch.axis, LogUniform) for branch in branches):
        return True
    values = _numbers(name, rows)
    return bool(values) and min(values) > 0 and max(values) / min(values) >= _LOG_RATIO


def _axis_plot(evidence: Evidence, name: str, rows: Sequence[Mapping[str, Any]]) -> Plot:
    dots = [
        Dot(
            row["trial"],
            norm_of(row["point"]),
            row["point"][name],
            row["accuracy"],
            f"{row['trial']}: {formatting.share(row['accuracy'])}, {formatting.point(row['point'])}",
            accuracy_bounds(row["counts"]),
            marked=row["trial"] in evidence.subject_trials,
        )
        for row in rows
        if name in row["point"]
    ]
    log_x = _is_log(evidence, name, rows)
    whose = evidence.subject_name
    figure = scatter.scatter(dots, name, "accuracy, select", log_x=log_x, marked=whose)
    marks, legend = _marks([dot.group for dot in dots])
    xs, ys = [float(dot.x) for dot in dots], [dot.y for dot in dots]
    lines = (*text_plots.scatter(xs, ys, marks, log_x=log_x), legend)
    return Plot(f"axis-{name}", f"Accuracy against {name}, by length normalization", figure, lines)


def _marks(groups: Sequence[str]) -> tuple[list[str], str]:
    letters = dict(zip(sorted(set(groups)), "ox+*#%", strict=False))
    legend = ", ".join(f"{letter} {group}" for group, letter in letters.items())
    return [letters.get(group, "?") for group in groups], f"{'':>10}{legend}"


def _sparklines(lines: Sequence[Curve]) -> tuple[str, ...]:
    low = min(min(line.ys) for line in lines)
    high = max(max(line.ys) for line in lines)
    best = sorted(lines, key=lambda line: -max(line.ys))[:_MOST_SPARKLINES]
    wide = max(len(line.ys) for line in best)
    return tuple(
        f"{line.trial}  {text_plots.sparkline(line.ys, low, high):<{wide}}  "
        f"best {formatting.share(max(line.ys))}{'  failed' if line.broken else ''}"
        for line in best
    )
