"""Tests of the section on the trend over nights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sweeps.report.report_data import ReportData
from sweeps.report.sections.nights import incumbent_sentence, nights_section
from tests.support.report_sections import cells_by_column, plots, tables


def night(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "night": name,
        "sweep": f"sweep-{name}",
        "verdict": "better",
        "promoted": True,
        "difference": 0.1,
        "final": 0.7,
        "final_interval": [0.6, 0.8],
        "incumbent_final": None,
        "reference_final": 0.5,
        "control": None,
        "trials": 4,
        "finished": 3,
        "stopped": 0,
        "failed": 1,
        "worker_hours": 1.5,
        "gpu_hours": 0.0,
        "data_changed": None,
        "code_changed": None,
        **changes,
    }


@pytest.fixture
def nightly(ended: ReportData) -> ReportData:
    """Two nights, the second without a winner and the one of this sweep."""
    nights = [
        night("mon"),
        night(
            "tue", sweep=ended.sweep_id, verdict=None, promoted=False, difference=None, final=None,
            final_interval=None, reference_final=None, control=0.65, data_changed=True,
            code_changed=False,
        ),
    ]  # fmt: skip
    return replace(ended, nights=nights)


def test_each_night_has_a_row(nightly: ReportData) -> None:
    section = nights_section(nightly)
    assert section is not None
    [table] = tables(section).values()
    assert [row.marked for row in table.rows] == [False, True], "the night of this sweep is marked"
    assert [tuple(row.values()) for row in cells_by_column(table)] == [
        ("mon", "better, promoted", "+10.0 points", "70.0 %", "–", "–", "4", "1", "1.50", "–"),
        ("tue", "–", "–", "–", "–", "65.0 %", "4", "1", "1.50", "data"),
    ]


def test_the_plots_have_every_night_and_gaps(nightly: ReportData) -> None:
    section = nights_section(nightly)
    assert section is not None
    by_name = plots([section])
    accuracy = {trace.name: list(trace.y) for trace in by_name["nights"].figure.data}
    assert accuracy == {"winner": [0.7, None], "reference": [0.5, None]}, "no incumbent, no line"
    assert [line.split()[0] for line in by_name["nights"].text] == ["mon", "60.0"]
    trials = {trace.name: list(trace.y) for trace in by_name["nights-trials"].figure.data}
    assert trials == {"finished": [3, 3], "stopped": [0, 0], "failed": [1, 1]}


def test_the_incumbents_accuracy_is_from_after_its_promotion() -> None:
    assert incumbent_sentence(night("mon")) is None
    promoted = night("mon", incumbent_after="mon", incumbent_accuracy=None, incumbent_nights=0)
    assert "the model of mon. Its accuracy is that of" in (incumbent_sentence(promoted) or "")
    later = night("wed", incumbent_after="mon", incumbent_accuracy=0.58, incumbent_nights=2)
    sentence = incumbent_sentence({**later, "incumbent_pairs_changed": True})
    assert sentence == (
        "The incumbent is the model of mon: 58.0 % right on final in the 2 nights after its promotion. "
        "Final pairs have changed since; those on which it was promoted, as far as they are still among "
        "them, make the number too high."
    )
    assert "only fresh final pairs tell" in (incumbent_sentence(later) or "")


@pytest.mark.parametrize(("gpu_hours", "unit"), [(0.0, "worker hours"), (6.0, "GPU hours")])
def test_the_cost_is_in_hours_of_gpus_where_there_are_some(
    ended: ReportData, gpu_hours: float, unit: str
) -> None:
    nights = [night("mon", gpu_hours=gpu_hours)]
    section = nights_section(replace(ended, nights=nights))
    assert section is not None
    [cost] = plots([section])["nights-cost"].figure.data
    assert (cost.name, list(cost.y)) == (unit, [gpu_hours or 1.5])
    [row] = cells_by_column(next(iter(tables(section).values())))
    assert row[unit] == f"{gpu_hours or 1.5:.2f}"


def test_nights_without_any_winner_have_no_text_plot(ended: ReportData) -> None:
    nights = [night("mon", final=None, final_interval=None, reference_final=None)]
    section = nights_section(replace(ended, nights=nights))
    assert section is not None
    assert plots([section])["nights"].text == ()


def test_a_sweep_of_no_night_has_no_section(ended: ReportData) -> None:
    assert nights_section(ended) is None
