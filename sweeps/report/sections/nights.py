"""The trend over nights, from trend.json in a night's folder, as `nightly` wrote it: oldest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sweeps.report import formatting
from sweeps.report.blocks import Column, Grid, Plot, Row, Section, number, table
from sweeps.report.plots import bars_and_intervals, lines, text_plots
from sweeps.report.report_data import Evidence

Night = Mapping[str, Any]
_SERIES = {"winner": "final", "incumbent": "incumbent_final", "reference": "reference_final"}
_STATUS = ("finished", "stopped", "failed")


def nights_section(evidence: Evidence) -> Section | None:
    """None for a sweep that is no night's."""
    nights = evidence.nights
    if not nights:
        return None
    names = [str(night["night"]) for night in nights]
    parts = {status: [night.get(status) or 0 for night in nights] for status in _STATUS}
    trials = Plot(
        "nights-trials", "Trials of each night", bars_and_intervals.columns(names, parts, "trials")
    )
    cost, unit = _cost(nights)
    hours = bars_and_intervals.columns(names, {unit: cost}, unit)
    plots = (_accuracy(nights, names), trials, Plot("nights-cost", "Cost of each night", hours))
    return Section("nights", "Trend over nights", (Grid(plots), _table(evidence, nights)))


def _accuracy(nights: Sequence[Night], names: Sequence[str]) -> Plot:
    series = {
        who: (
            [night.get(key) for night in nights],
            [night.get("final_interval") if key == "final" else None for night in nights],
        )
        for who, key in _SERIES.items()
        if any(night.get(key) is not None for night in nights)
    }
    found = [n for n in nights if n.get("final") is not None]
    text = (
        text_plots.ranges(
            [str(n["night"]) for n in found],
            [n["final"] for n in found],
            [tuple(n.get("final_interval") or (n["final"], n["final"])) for n in found],
        )
        if found
        else ()
    )
    figure = lines.trend(names, series, "accuracy, final")
    caption = "Accuracy on the final split, with the winner's 95 % interval"
    return Plot("nights", caption, figure, text)


def _cost(nights: Sequence[Night]) -> tuple[list[float], str]:
    gpu = [night.get("gpu_hours") or 0.0 for night in nights]
    if any(gpu):
        return gpu, "GPU hours"
    return [night.get("worker_hours") or 0.0 for night in nights], "worker hours"


def _table(evidence: Evidence, nights: Sequence[Night]) -> Any:
    cost, unit = _cost(nights)
    columns = [
        Column("night"),
        Column("verdict"),
        number("difference"),
        number("winner, final"),
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
                formatting.points(night.get("difference")),
                formatting.share(night.get("final")),
                formatting.share(night.get("incumbent_final")),
                formatting.share(night.get("control")),
                formatting.value(night.get("trials")),
                formatting.value(night.get("failed")),
                f"{hours:.2f}",
                _changed(night),
            ),
            marked=night.get("sweep") == evidence.sweep_id,
        )
        for night, hours in zip(nights, cost, strict=True)
    ]
    caption = "Nights; the control is the incumbent's point, trained again"
    return table(caption, columns, rows)


def _verdict(night: Night) -> str:
    told = str(night.get("verdict") or formatting.MISSING)
    return f"{told}, promoted" if night.get("promoted") else told


def _changed(night: Night) -> str:
    changed = [name for name in ("data", "code") if night.get(f"{name}_changed")]
    return ", ".join(changed) or formatting.MISSING
