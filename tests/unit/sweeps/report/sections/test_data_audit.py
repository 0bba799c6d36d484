"""Tests of the section on the data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sweeps.report.report_data import ReportData
from sweeps.report.sections.data_audit import audit_section
from tests.support.report_sections import cells_by_column, plots, tables, texts

FINDING = {
    "severity": "severe", "number": 0.71, "is_share": True, "message": "of pairs are the same",
    "remedy": "leave them out", "places": ["a.jsonl:3", "b.jsonl:4"],
}  # fmt: skip


def with_files(data: ReportData, prepared: dict[str, Any], audit: dict[str, Any]) -> ReportData:
    return replace(data, prepared=prepared, audit=audit)


def test_the_splits_and_the_findings_of_preparing_are_shown(ended: ReportData) -> None:
    by_caption = tables(audit_section(ended))
    splits = cells_by_column(by_caption["Splits, and what was cut off to fit data.max_tokens"])
    assert [row["split"] for row in splits] == ["train", "select", "final"]
    assert splits[1]["pairs"] == str(len(ended.outcomes["select"].ids))
    [finding] = cells_by_column(by_caption["Findings of the audit"])
    assert finding["value"] == "71.0 %"


def test_the_audit_goes_before_the_findings_of_preparing(ended: ReportData) -> None:
    count = {"severity": "note", "number": 1234, "message": "rows"}
    section = audit_section(with_files(ended, {"findings": [{}]}, {"findings": [FINDING, count]}))
    rows = [
        tuple(row.values()) for row in cells_by_column(tables(section)["Findings of the audit"])
    ]
    assert rows == [
        ("severe", "71.0 %", "of pairs are the same", "a.jsonl:3, b.jsonl:4", "leave them out"),
        ("note", "1234", "rows", "–", "–"),
    ]


def test_lengths_and_agreement_of_annotators_are_shown(ended: ReportData) -> None:
    audit = {
        "annotator_agreement": {"clinic": 0.712},
        "histogram": {"prompt": {"counts": [1, 4], "edges": [0.0, 10.0, 20.0]}},
    }
    section = audit_section(with_files(ended, {}, audit))
    assert texts(section)[0] == "Annotators of clinic agree with Krippendorff's α = 0.71."
    lengths = plots([section])["lengths"]
    assert list(lengths.figure.data[0].y) == [1, 4, 0]
    assert lengths.text == ("prompt    ▃█  0 to 20 tokens",)


def test_large_counts_have_separators(ended: ReportData) -> None:
    section = audit_section(with_files(ended, {"reports": {"train": {"pairs": 1234567}}}, {}))
    [row] = cells_by_column(tables(section)["Splits, and what was cut off to fit data.max_tokens"])
    assert (row["pairs"], row["prompt tokens"]) == ("1,234,567", "–")
    assert texts(section) == ["The audit found no problem."]


def test_before_the_data_is_prepared_it_says_so(ended: ReportData) -> None:
    section = audit_section(with_files(ended, {}, {}))
    assert texts(section) == ["The data has not been prepared yet."]


def test_each_column_of_a_source_is_shown_with_its_use(ended: ReportData) -> None:
    use = {
        "layout": "pairs",
        "sentence": "preference pairs",
        "used": {"question": "prompt", "chosen": "chosen"},
        "ignored": ["id"],
    }
    section = audit_section(with_files(ended, {}, {"columns": {"a.jsonl": use}}))
    rows = [
        tuple(row.values()) for row in cells_by_column(tables(section)["Columns of each source"])
    ]
    assert rows == [
        ("a.jsonl", "preference pairs", "question", "prompt"),
        ("a.jsonl", "preference pairs", "chosen", "chosen"),
        ("a.jsonl", "preference pairs", "id", "–"),
    ]
