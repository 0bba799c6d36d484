"""Tests of the sections together: which there are, that plots have a text, that no secret is shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.report.report_data import ReportData
from sweeps.report.sections.all_sections import SECTIONS, build_sections
from sweeps.report.write import write_report
from tests.support.report_sections import plots
from tests.support.toy_sweeps import ScriptedSweep
from tests.support.toys import toy_pairs


def test_the_sections_that_apply_are_built_in_order(ended: ReportData) -> None:
    names = [section.name for section in build_sections(ended)]
    assert names == [
        "verdict", "compared", "leaderboard", "guardrails", "slices", "drift", "axes", "parallel",
        "curves", "importance", "answers", "data", "provenance",
    ]  # fmt: skip
    assert len(SECTIONS) == len(names) + 2, "no confirmation and no nights here"


def test_every_plot_but_two_is_there_as_text(ended: ReportData) -> None:
    by_name = plots(build_sections(ended))
    assert {name for name, plot in by_name.items() if not plot.text} == {"parallel", "sides"}
    assert {"compared", "curves", "pareto", "margins", "axis-beta"} < set(by_name)


def test_secrets_are_redacted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a password in a URI nor the value of a secret variable is in a report."""
    monkeypatch.setenv("SOME_TOKEN", "planted-in-the-environment")
    sweep = ScriptedSweep(tmp_path / "a", toy_pairs(60))
    uri = "s3://KEY:planted-in-a-uri@bucket/model?secret=planted-in-a-query"
    detail = f"401 for planted-in-the-environment at {uri}"
    sweep.end(0, "failed", reason="exception", detail=detail, steps=())
    write_report(sweep.paths)
    for name in (sweep.paths.report_page, sweep.paths.report_markdown):
        text = sweep.paths.store.read(name).decode()
        assert "planted" not in text
        assert "bucket/model" in text
        assert "401 for" in text


def test_the_folder_and_the_config_are_redacted_too(ended: ReportData) -> None:
    uri = "s3://KEY:planted@bucket/runs"
    data = replace(ended, folder=uri, config_text=f"storage: {uri}")
    assert "planted" not in str(build_sections(data))
