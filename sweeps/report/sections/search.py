"""The sections on the search: accuracy over each hyperparameter, whole points, learning curves."""

from __future__ import annotations

from collections.abc import Sequence

from dpo_core.wording import counted
from search_spaces import LogUniform
from sweeps.report import formatting
from sweeps.report.blocks import NOTHING_EVALUATED, Grid, Plot, Section, Text
from sweeps.report.plots import lines, scatter, text_plots
from sweeps.report.plots.lines import Curve, TrialLine
from sweeps.report.plots.scatter import Dot
from sweeps.report.plots.style import normalization_of
from sweeps.report.report_data import EvaluatedTrial, ReportData
from sweeps.run_dir.ledger import FAILED

_LOG_RATIO = 8.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""
_MOST_SPARKLINES = 30
_MOST_LINES = 300
"""A browser is slow with more lines than that, and a reader could not tell them apart."""


def axes_section(data: ReportData) -> Section:
    """Plot the accuracy over each numeric hyperparameter, coloured by length normalization."""
    trials = data.evaluated_trials
    plots = tuple(_axis_plot(data, name) for name in _numeric_names(trials))
    nothing = (
        Text("No numeric hyperparameter differs between the evaluated trials.", "note")
        if trials
        else NOTHING_EVALUATED
    )
    return Section(
        "axes", "Accuracy over the search space", (Grid(plots),) if plots else (nothing,)
    )


def parallel_section(data: ReportData) -> Section:
    """Plot every trial as a line over all hyperparameters."""
    trials = data.evaluated_trials
    names = list(dict.fromkeys(name for trial in trials[:_MOST_LINES] for name in trial.point))
    if not names:
        return Section("parallel", "All hyperparameters of each trial", (NOTHING_EVALUATED,))
    drawn = [TrialLine(t.name, t.point, t.accuracy) for t in trials[:_MOST_LINES]]
    marked = next((line.trial for line in drawn if line.trial in data.highlighted_trials), None)
    log_names = frozenset(name for name in names if _is_log(data, name))
    figure = lines.draw_parallel_coordinates(names, drawn, log_names, marked)
    caption = (
        f"Each line is a trial{_of_all(len(trials))}; brighter lines are more accurate. A line "
        "that passes below an axis has no value on it"
    )
    return Section(
        "parallel", "All hyperparameters of each trial", (Plot("parallel", caption, figure),)
    )


def curves_section(data: ReportData) -> Section:
    """Plot the accuracy of every trial over its steps."""
    curves = _curves(data)
    if not curves:
        return Section("curves", "Learning curves", (NOTHING_EVALUATED,))
    drawn = sorted(curves, key=lambda curve: (not curve.marked, -max(curve.ys)))[:_MOST_LINES]
    caption = (
        f"{counted(len(drawn), 'trial')}{_of_all(len(curves))}; the thick line is the "
        f"{data.highlighted_label}, a cross marks a failed trial"
    )
    figure = lines.draw_curves(drawn, "optimizer step", f"{data.objective}, select")
    plot = Plot("curves", caption, figure, _sparklines(drawn))
    return Section("curves", "Learning curves", (plot,))


def _curves(data: ReportData) -> list[Curve]:
    highlighted_trial = data.highlighted[0] if data.highlighted else None
    return [
        Curve(
            record.trial,
            normalization_of(record.point),
            [evaluation.step for evaluation in record.evaluations],
            [evaluation.accuracy(data.objective) for evaluation in record.evaluations],
            f"{record.trial} ({record.status}): {formatting.point(record.point)}",
            marked=record.trial == highlighted_trial,
            broken=record.status == FAILED,
        )
        for record in data.records
        if record.evaluations
    ]


def _of_all(count: int) -> str:
    """Return how many of all lines are drawn, where not all are."""
    return f" (the best {_MOST_LINES} of {count})" if count > _MOST_LINES else ""


def _numeric_names(trials: Sequence[EvaluatedTrial]) -> list[str]:
    names = dict.fromkeys(name for trial in trials for name in trial.point)
    return [name for name in names if len(_numbers(name, trials)) > 1]


def _numbers(name: str, trials: Sequence[EvaluatedTrial]) -> set[float]:
    """Return the values of a hyperparameter; none where one of them is not a number."""
    values = {trial.point.get(name) for trial in trials} - {None}
    numbers = {value for value in values if formatting.is_number(value)}
    return numbers if len(numbers) == len(values) else set()


def _is_log(data: ReportData, name: str) -> bool:
    branches = data.config.search_space.axes.get(name, ())
    if any(isinstance(branch.axis, LogUniform) for branch in branches):
        return True
    numbers = _numbers(name, data.evaluated_trials)
    return bool(numbers) and min(numbers) > 0 and max(numbers) / min(numbers) >= _LOG_RATIO


def _axis_plot(data: ReportData, name: str) -> Plot:
    dots = [
        Dot(
            trial.name,
            normalization_of(trial.point),
            value,
            trial.accuracy,
            f"{trial.name}: {formatting.percent(trial.accuracy)}, {formatting.point(trial.point)}",
            trial.bounds,
            marked=trial.name in data.highlighted_trials,
        )
        for trial in data.evaluated_trials
        if formatting.is_number(value := trial.point.get(name))
    ]
    log_x = _is_log(data, name)
    figure = scatter.draw_scatter(
        dots, name, "accuracy, select", log_x=log_x, marked_label=data.highlighted_label
    )
    marks, legend = _marks([dot.group for dot in dots])
    xs, ys = [dot.x for dot in dots], [dot.y for dot in dots]
    text_lines = (*text_plots.draw_scatter(xs, ys, marks, log_x=log_x), legend)
    caption = f"Accuracy against {name}, by length normalization"
    return Plot(f"axis-{name}", caption, figure, text_lines)


def _marks(groups: Sequence[str]) -> tuple[list[str], str]:
    """Return a character for each dot by its group, and the line that explains the characters."""
    characters = dict(zip(sorted(set(groups)), "ox+*#%", strict=False))
    legend = ", ".join(f"{character} {group}" for group, character in characters.items())
    return [characters.get(group, "?") for group in groups], f"{'':>10}{legend}"


def _sparklines(curves: Sequence[Curve]) -> tuple[str, ...]:
    low = min(min(curve.ys) for curve in curves)
    high = max(max(curve.ys) for curve in curves)
    best = sorted(curves, key=lambda curve: -max(curve.ys))[:_MOST_SPARKLINES]
    width = max(len(curve.ys) for curve in best)
    return tuple(
        f"{curve.trial}  {text_plots.draw_sparkline(curve.ys, low, high):<{width}}  "
        f"best {formatting.percent(max(curve.ys))}{'  failed' if curve.broken else ''}"
        for curve in best
    )
