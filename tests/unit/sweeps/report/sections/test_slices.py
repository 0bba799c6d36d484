"""Tests of the section on slices and margins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dpo_core.evaluation.outcomes import Outcomes
from sweeps.report.report_data import ReportData
from sweeps.report.sections.slices import slices_section
from tests.support.report_sections import cells_by_column, plots, tables, texts


@pytest.fixture
def four_pairs(ended: ReportData) -> ReportData:
    """Four final pairs with the margins 1, 2, −3 and 0, of two sources."""
    zeros = np.zeros(4)
    outcomes = Outcomes(
        ("a", "b", "c", "d"),
        np.array([1.0, 2.0, -3.0, 0.0]), zeros, zeros, zeros,
        np.array([9, 9, 2, 5]), np.array([5, 5, 5, 5]),
    )  # fmt: skip
    labels = {"source": {"a": "people", "b": "people", "c": "model", "d": "model"}}
    return replace(ended, outcomes={"final": outcomes}, labels=labels)


def test_every_slice_has_its_accuracy(four_pairs: ReportData) -> None:
    [table] = tables(slices_section(four_pairs)).values()
    assert table.caption == "Slices of the final split"
    rows = [(r["slice"], r["pairs"], r["accuracy"]) for r in cells_by_column(table)]
    assert rows == [
        ("all pairs", "4", "62.5 %"),
        ("chosen longer", "2", "100.0 %"),
        ("chosen shorter", "1", "0.0 %"),
        ("source: model", "2", "25.0 %"),
        ("source: people", "2", "100.0 %"),
    ]


def test_intervals_respect_groups(four_pairs: ReportData) -> None:
    apart, together = (
        cells_by_column(next(iter(tables(slices_section(data)).values())))
        for data in (four_pairs, replace(four_pairs, group_of_pair={"a": "x", "b": "x"}))
    )
    by_slice = {row["slice"]: row["95 % interval"] for row in together}
    assert by_slice["source: people"] == "0.0 to 100.0 %", "two pairs of one group"
    assert by_slice["source: model"] == apart[3]["95 % interval"]
    assert by_slice["all pairs"] != apart[0]["95 % interval"]


def test_the_plots_show_the_same_slices_and_every_margin(four_pairs: ReportData) -> None:
    by_name = plots([slices_section(four_pairs)])
    [trace] = by_name["slices"].figure.data
    assert list(trace.x) == [0.625, 1.0, 0.0, 0.25, 1.0]
    margins = by_name["margins"]
    assert margins.caption == "Margins of 4 final pairs"
    assert {t.name: sum(t.y) for t in margins.figure.data} == {
        "chosen longer": 2, "chosen shorter": 1, "same length": 1,
    }  # fmt: skip
    assert margins.text[0].startswith("from −3.000 nats")
    assert sum(int(line.split()[-1]) for line in margins.text) == 4


def test_length_is_controlled_for_in_a_sentence(four_pairs: ReportData) -> None:
    [sentence] = texts(slices_section(four_pairs))
    assert "is 50.0 %." in sentence, "the mean of 100 % and 0 %"
    assert "would reach 62.5 %" in sentence, "longer in 2 of 4 pairs, as long in 1"
    correlation = np.corrcoef([1, 2, -3, 0], [4, 4, -3, 0])[0, 1]
    assert f"correlate with {correlation:.3g}." in sentence


def test_before_any_evaluation_it_says_so(ended: ReportData) -> None:
    section = slices_section(replace(ended, outcomes={}))
    assert texts(section) == ["Nothing has been evaluated yet."]
