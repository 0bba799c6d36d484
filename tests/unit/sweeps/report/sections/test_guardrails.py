"""Tests of the section on guardrails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sweeps.report.report_data import ReportData
from sweeps.report.sections.guardrails import guardrails_section
from tests.support.report_sections import cells_by_column, tables, texts

LIMITS = {
    "drift": {"limit": 0.1, "action": "exclude"},
    "loops": {"limit": 0.2, "action": "warn"},
}


def candidate(trial: str, accuracy: float, drift: float, loops: float | None) -> dict[str, Any]:
    """Return a candidate's row; None for a value that is not known."""
    known = loops is not None
    return {
        "trial": trial,
        "step": 10,
        "accuracy": accuracy,
        "admissible": drift <= 0.1,
        "shortlisted": False,
        "guardrails": {
            "drift": {"value": drift, "passed": drift <= 0.1},
            "loops": {"value": loops, "passed": loops <= 0.2 if known else None},
        },
    }


@pytest.fixture
def guarded(ended: ReportData) -> ReportData:
    candidates = [
        candidate("t0000", 0.7, 0.05, 0.1),
        candidate("t0001", 0.6, 0.05, 0.3),
        candidate("t0002", 0.8, 0.5, None),
    ]
    selection = {
        "winner": {"trial": "t0000", "step": 10},
        "verdict": {"word": "better"},
        "guardrails": LIMITS,
        "candidates": candidates,
    }
    return replace(ended, selection=selection)


def test_limits_stand_beside_the_values_of_the_winner(guarded: ReportData) -> None:
    section = guardrails_section(guarded)
    assert section is not None
    rows = cells_by_column(tables(section)["Limits, and the values of the winner"])
    assert rows == [
        {"guardrail": "drift", "limit": "0.1", "action": "exclude", "winner": "0.05",
         "candidates over the limit": "1 of 3"},
        {"guardrail": "loops", "limit": "0.2", "action": "warn", "winner": "0.1",
         "candidates over the limit": "1 of 2"},
    ]  # fmt: skip


def test_what_could_not_be_tested_is_said(guarded: ReportData) -> None:
    rows = [dict(row) for row in guarded.selection["candidates"]]
    for row, note in zip(rows, ("untestable: 4 pairs", "of another candidate"), strict=False):
        drift = {"value": 0.05, "limit": 0.1, "passed": True, "note": note}
        row["guardrails"] = {**row["guardrails"], "drift": drift}
    selection = {**guarded.selection, "candidates": rows}
    section = guardrails_section(replace(guarded, selection=selection))
    assert section is not None
    assert texts(section) == ["drift: untestable: 4 pairs."]


def test_checkpoints_over_a_limit_are_listed_most_accurate_first(guarded: ReportData) -> None:
    section = guardrails_section(guarded)
    assert section is not None
    rows = cells_by_column(tables(section)["Checkpoints over a limit"])
    assert [tuple(row.values()) for row in rows] == [
        ("t0002", "10", "80.0 %", "0.5 ✗", "–", "no"),
        ("t0001", "10", "60.0 %", "0.05", "0.3 ✗", "yes"),
    ]


def test_a_long_list_is_cut_and_says_so(
    guarded: ReportData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.report.sections.guardrails._MOST_ROWS", 1)
    section = guardrails_section(guarded)
    assert section is not None
    assert len(tables(section)["Checkpoints over a limit"].rows) == 1
    assert texts(section) == [
        "The table has the 1 most accurate of 2 checkpoints; selection.json has all of them."
    ]


def test_without_guardrails_there_is_no_section(ended: ReportData) -> None:
    selection = {**ended.selection, "guardrails": {}}
    assert guardrails_section(replace(ended, selection=selection)) is None
