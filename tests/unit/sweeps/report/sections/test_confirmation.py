"""Tests of the section on points that were trained again with other seeds."""

from __future__ import annotations

from dataclasses import replace

from sweeps.report.report_data import ReportData
from sweeps.report.sections.confirmation import confirmation_section
from tests.support.report_sections import cells_by_column, tables


def test_each_point_has_its_accuracies_with_new_seeds(ended: ReportData) -> None:
    trial = ended.leaderboard[0]["trial"]
    missing = {"trial": f"{trial}-s2", "reason": "nan", "detail": "at step 3"}
    points = [
        {
            "trial": trial, "point": {"beta": 0.1}, "seeds": [1, 2], "accuracies": [0.6, 0.7],
            "counted": [True, False], "mean": 0.65, "spread": 0.07, "search_score": 0.7,
            "shrinkage": 0.05, "missing": [missing],
        },
        {"trial": "t0099", "point": {}, "seeds": [], "accuracies": [], "search_score": 0.6},
    ]  # fmt: skip
    selection = {"winner": {"trial": trial, "step": 10}, "confirmation": points}
    section = confirmation_section(replace(ended, selection=selection))
    assert section is not None
    [table] = tables(section).values()
    assert [row.marked for row in table.rows] == [True, False]
    assert [tuple(row.values()) for row in cells_by_column(table)] == [
        (trial, "beta 0.1", "1, 2", "60.0 %, (70.0 %)", "65.0 %", "7.0 points", "70.0 %",
         "+5.0 points", f"{trial}-s2: nan (at step 3)"),
        ("t0099", "", "–", "–", "–", "–", "60.0 %", "–", "–"),
    ]  # fmt: skip


def test_without_confirmation_there_is_no_section(ended: ReportData) -> None:
    assert confirmation_section(ended) is None
