"""The section on the trend over nights, from trend.json in the run directory of a night."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sweeps.report import formatting
from sweeps.report.blocks import Column, Grid, Plot, Row, Section, Table, Text, number, table
from sweeps.report.plots import bars_and_intervals, lines, text_plots
from sweeps.report.plots.lines import Series
from sweeps.report.report_data import ReportData
from sweeps.run_dir.json_types import TrendRow

_Accuracy = Literal["final", "incumbent_final", "reference_final"]
_ACCURACIES: dict[str, _Accuracy] = {
    "winner": "final",
    "incumbent": "incumbent_final",
    "reference": "reference_final",
}
_STATUSES: tuple[Literal["finished", "stopped", "failed"], ...] = ("finished", "stopped", "failed")


def nights_section(data: ReportData) -> Section | None:
    """Show accuracies, trials and cost of each night, or return None for a sweep of no night."""
    nights = data.nights
    if not nights:
        return None
    names = [str(night["night"]) for night in nights]
    parts: dict[str, list[int]] = {
        status: [night.get(status) or 0 for night in nights] for status in _STATUSES
    }
    trials = bars_and_intervals.draw_stacked_columns(names, parts, "trials")
    hours, unit = _cost(nights)
    cost = bars_and_intervals.draw_stacked_columns(names, {unit: hours}, unit)
    plots = (
        _accuracy_plot(nights, names),
        Plot("nights-trials", "Trials of each night", trials),
        Plot("nights-cost", "Cost of each night", cost),
    )
    sentence = incumbent_sentence(nights[-1])
    texts = (Text(sentence),) if sentence else ()
    blocks = (*texts, Grid(plots), _table(data.sweep_id, nights))
    return Section("nights", "Trend over nights", blocks)


def incumbent_sentence(latest: TrendRow) -> str | None:
    """Say which night's model is the incumbent, and how accurate it was after its promotion."""
    promoted, nights = latest.get("incumbent_after"), latest.get("incumbent_nights", 0)
    if promoted is None:
        return None
    accuracy = latest.get("incumbent_accuracy")
    if accuracy is None:
        return (
            f"The incumbent is the model of {promoted}. Its accuracy is that of the nights after its "
            "promotion, of which there is none yet: the number that promoted it is too high."
        )
    counted = "the night" if nights == 1 else f"the {nights} nights"
    sentence = (
        f"The incumbent is the model of {promoted}: {formatting.percent(accuracy)} right on final in "
        f"{counted} after its promotion."
    )
    if latest.get("incumbent_pairs_changed"):
        return (
            f"{sentence} Final pairs have changed since; those on which it was promoted, as far as "
            "they are still among them, make the number too high."
        )
    return (
        f"{sentence} These are the pairs on which it was promoted, so the number is as much too high "
        "as then; only fresh final pairs tell."
    )


def _accuracy_plot(nights: Sequence[TrendRow], names: Sequence[str]) -> Plot:
    series = {
        policy: Series(
            [night.get(key) for night in nights],
            [night.get("final_interval") if key == "final" else None for night in nights],
        )
        for policy, key in _ACCURACIES.items()
        if any(night.get(key) is not None for night in nights)
    }
    figure = lines.draw_trend(names, series, "accuracy, final")
    caption = "Accuracy on the final split, with the winner's 95 % interval"
    return Plot("nights", caption, figure, _accuracy_lines(nights))


def _accuracy_lines(nights: Sequence[TrendRow]) -> tuple[str, ...]:
    rows = [
        (str(night["night"]), final, night.get("final_interval") or (final, final))
        for night in nights
        if (final := night.get("final")) is not None
    ]
    if not rows:
        return ()
    return text_plots.draw_intervals(
        [name for name, _, _ in rows],
        [final for _, final, _ in rows],
        [(low, high) for _, _, (low, high) in rows],
    )


def _cost(nights: Sequence[TrendRow]) -> tuple[list[float], str]:
    """Return the cost of each night and its unit: hours of GPUs, or of workers without any GPU."""
    gpu_hours = [night.get("gpu_hours") or 0.0 for night in nights]
    if any(gpu_hours):
        return gpu_hours, "GPU hours"
    return [night.get("worker_hours") or 0.0 for night in nights], "worker hours"


def _table(sweep_id: str, nights: Sequence[TrendRow]) -> Table:
    costs, unit = _cost(nights)
    columns = [
        Column("night"),
        Column("verdict"),
        number("difference"),
        number("selected, final"),
        number("incumbent, final"),
        number("control, select"),
        number("trials"),
        number("failed"),
        number(unit),
        Column("changed"),
    ]
    rows = [
        Row(
            (
                str(night["night"]),
                _verdict(night),
                formatting.percentage_points(night.get("difference")),
                formatting.percent(night.get("final")),
                formatting.percent(night.get("incumbent_final")),
                formatting.percent(night.get("control")),
                formatting.value(night.get("trials")),
                formatting.value(night.get("failed")),
                f"{hours:.2f}",
                _changes(night),
            ),
            marked=night.get("sweep") == sweep_id,
        )
        for night, hours in zip(nights, costs, strict=True)
    ]
    caption = "All nights; the control is a trial that trains the incumbent's point again"
    return table(caption, columns, rows)


def _verdict(night: TrendRow) -> str:
    word = str(night.get("verdict") or formatting.MISSING)
    return f"{word}, promoted" if night.get("promoted") else word


def _changes(night: TrendRow) -> str:
    changed = {"data": night.get("data_changed"), "code": night.get("code_changed")}
    return ", ".join(name for name, value in changed.items() if value) or formatting.MISSING
