"""Tests of the section that compares policies."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sweeps.report import formatting
from sweeps.report.report_data import ReportData
from sweeps.report.sections.comparison import comparison_section
from tests.support.report_sections import cells_by_column, plots, tables, texts


def test_every_policy_of_the_selection_is_compared_on_both_splits(ended: ReportData) -> None:
    selection = {**ended.selection, "incumbent": ended.selection["reference"]}
    section = comparison_section(replace(ended, selection=selection))
    by_caption = tables(section)
    [caption] = [c for c in by_caption if c.startswith("All three accuracies")]
    rows = cells_by_column(by_caption[caption])
    assert [(row["policy"], row["split"]) for row in rows] == [
        ("winner", "final"), ("winner", "select"), ("runner-up", "select"),
        ("incumbent", "final"), ("incumbent", "select"),
        ("reference", "final"), ("reference", "select"),
    ]  # fmt: skip
    final = ended.selection["final"]
    counts = f"{final['correct']} + ½·{final['ties']} of {final['total']}"
    assert rows[0]["correct + ½ ties"] == counts
    assert rows[0]["likelihood"] == formatting.percent(final["likelihood_accuracy"])
    assert rows[0]["displaced"] == formatting.percent(final["health"]["displaced"])
    assert [row.marked for row in by_caption[caption].rows] == [True, True, *[False] * 5]


def test_the_plot_has_the_intervals_of_the_table(ended: ReportData) -> None:
    figure = plots([comparison_section(ended)])["compared"].figure
    by_split = {trace.name: trace for trace in figure.data}
    final = ended.selection["final"]
    assert by_split["final"].x[0] == final["accuracy"]
    upper = by_split["final"].x[0] + by_split["final"].error_x.array[0]
    assert upper == pytest.approx(final["interval"][1])


def test_before_the_end_the_best_so_far_is_compared_with_the_reference(ended: ReportData) -> None:
    outcomes = {"select": ended.outcomes["select"]}
    data = replace(ended, selection={}, outcomes=outcomes)
    [table] = tables(comparison_section(data)).values()
    rows = cells_by_column(table)
    assert [(row["policy"], row["split"]) for row in rows] == [
        ("best so far", "select"), ("reference", "select"),
    ]  # fmt: skip
    accuracy = outcomes["select"].count(data.objective).accuracy
    assert rows[0]["reward"] == formatting.percent(accuracy)
    assert rows[1]["reward"] == "50.0 %", "the reference ties with itself"


@pytest.fixture
def with_shortlist(ended: ReportData) -> ReportData:
    """Return a report whose two best candidates are on the shortlist, the winner first."""
    first, second, *others = ended.selection["candidates"]
    candidates = [first, {**second, "shortlisted": True}, *others]
    winner = {**ended.selection["winner"], "trial": first["trial"], "step": first["step"]}
    return replace(ended, selection={**ended.selection, "candidates": candidates, "winner": winner})


def test_the_shortlist_has_paired_differences(with_shortlist: ReportData) -> None:
    ended = with_shortlist
    by_caption = tables(comparison_section(ended))
    [caption] = [c for c in by_caption if c.startswith("Shortlist of ")]
    shortlist = [c for c in ended.selection["candidates"] if c["shortlisted"]]
    assert caption.startswith(f"Shortlist of {len(shortlist)} checkpoints not distinguishable")
    table = by_caption[caption]
    assert len(table.rows) == len(shortlist)
    assert [(row.cells[0], row.cells[1]) for row in table.rows if row.marked] == [
        (ended.highlighted[0], str(ended.highlighted[1]))
    ]
    best, second = cells_by_column(table)[:2]
    assert best["points against best"] == formatting.MISSING, (
        "the best one is not compared with itself"
    )
    difference = shortlist[1]["against"]["best"]
    assert second["points against best"] == formatting.signed_points(difference["difference"])


def test_a_long_shortlist_is_cut(
    with_shortlist: ReportData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.report.sections.comparison._MOST_SHORTLISTED", 1)
    by_caption = tables(comparison_section(with_shortlist))
    [table] = [t for caption, t in by_caption.items() if caption.startswith("Shortlist of ")]
    assert len(table.rows) == 1


def test_before_any_evaluation_it_says_so(ended: ReportData) -> None:
    data = replace(ended, selection={}, outcomes={})
    assert texts(comparison_section(data)) == ["Nothing has been evaluated yet."]
