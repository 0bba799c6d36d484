"""Fixtures: the folder of a sweep that has ended, and what a report reads from it."""

from __future__ import annotations

import pytest

from sweeps.report.report_data import ReportData, read_report_data
from tests.support.toy_sweeps import ScriptedSweep
from tests.support.toys import toy_pairs


@pytest.fixture(scope="session")
def ended_sweep(tmp_path_factory: pytest.TempPathFactory) -> ScriptedSweep:
    """A sweep of eleven trials, the last of which failed early. Tests only read it."""
    sweep = ScriptedSweep(tmp_path_factory.mktemp("runs") / "scripted-1", toy_pairs(200))
    for number in range(10):
        sweep.end(number)
    sweep.end(10, "failed", reason="nan", detail="loss is nan at step 3", steps=())
    sweep.select()
    return sweep


@pytest.fixture(scope="session")
def ended(ended_sweep: ScriptedSweep) -> ReportData:
    """What a report reads from the ended sweep."""
    return read_report_data(ended_sweep.paths)
