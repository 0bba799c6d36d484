"""Findings about rows as they were read."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_core.audit.findings import INFO, SEVERE, WARNING
from dpo_core.preferences.notes.no_pair import CAPPED_PAIRS, ONE_SIDE, TIES
from sweeps.prepare.reading_findings import bad_row_findings, reading_findings
from sweeps.run_dir.json_types import ReadingReport


def reading(**more: Any) -> ReadingReport:
    return {"annotator_agreement": {}, "rows_skipped": [], "rows_left_out": [], **more}  # type: ignore[typeddict-item]


def test_an_earlier_sweep_did_not_count_what_made_no_pair() -> None:
    assert reading_findings(reading()) == []


@pytest.mark.parametrize(
    ("reason", "count", "severity"),
    [(ONE_SIDE, 10, INFO), (ONE_SIDE, 11, WARNING), (TIES, 90, INFO), (CAPPED_PAIRS, 90, INFO)],
)
def test_what_made_no_pair(reason: str, count: int, severity: str) -> None:
    no_pair = {"red": {"rows": 100, "counts": {reason: count}, "places": {reason: ["red:1"]}}}
    (finding,) = reading_findings(reading(no_pair=no_pair))
    assert (finding.code, finding.number, finding.severity) == ("no_pair", count, severity)
    assert finding.message == f"{reason} make no pair (source red, 100 rows)"
    assert finding.places == ("red:1",)
    assert finding.remedy


@pytest.mark.parametrize(
    ("equal", "against", "severities"),
    [
        (0, 0, {}),
        (5, 0, {"equal_scores": INFO}),
        (6, 1, {"equal_scores": WARNING, "negative_margins": INFO}),
        (0, 2, {"negative_margins": WARNING}),
        (0, 51, {"negative_margins": SEVERE}),
    ],
)
def test_scores_that_disagree(equal: int, against: int, severities: dict[str, str]) -> None:
    counts = {
        "rows": 100,
        "equal": equal,
        "against": against,
        "equal_places": ["a:1"],
        "against_places": ["a:2"],
    }
    findings = reading_findings(reading(row_scores={"a": {"score_chosen and …": counts}}))
    assert {finding.code: finding.severity for finding in findings} == severities
    assert all("(columns score_chosen and … of source a, 100 rows)" in f.message for f in findings)


def test_bad_rows_stop_a_run_or_are_left_out() -> None:
    reasons = [f"file:{n}: chosen: the answer is empty; fill it" for n in range(7)]
    (refused,) = bad_row_findings(reasons, refused=True)
    assert (refused.severity, refused.number, len(refused.places)) == (SEVERE, 7, 5)
    assert refused.message == "rows make no pair (7 with an empty answer); a run stops at them"
    assert "data.on_bad_row: skip" in refused.remedy
    (skipped,) = bad_row_findings(reasons, refused=False)
    assert skipped.severity == WARNING
    assert not [*bad_row_findings([], refused=True)]
