"""The share of the model that an adapter changes, in words."""

from __future__ import annotations

from sweeps.run_dir.adapter_coverage import coverage_findings, coverage_in_words
from sweeps.run_dir.json_types import CoverageJson

BODY = "of the body (all between embeddings and head)"


def counted(adapted: int, **left_out: int) -> CoverageJson:
    body = adapted + sum(left_out.values())
    return {"body": body, "adapted": adapted, "trained": 5, "folded": 0, "left_out": left_out}


def test_what_is_left_out_is_named_the_largest_first() -> None:
    coverage = counted(900, experts=80, router=15, norm=3, bias=2)
    assert coverage_in_words(coverage) == (
        f"90 % {BODY}; left out: experts 8 %, router 2 %, others 0.5 %"
    )
    assert coverage_in_words(counted(1000)) == f"100 % {BODY}"
    assert coverage_in_words(counted(1999, norm=1)).startswith("99.9 % of ")


def test_less_than_half_is_a_warning() -> None:
    assert list(coverage_findings(None)) == list(coverage_findings(counted(500, experts=500))) == []
    [finding] = coverage_findings(counted(499, norm=1, experts=500))
    assert (finding.code, finding.severity, finding.number) == (
        "adapter_coverage",
        "warning",
        0.499,
    )
    assert "most of the rest is experts" in finding.message
