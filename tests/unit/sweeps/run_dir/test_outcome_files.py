"""Readers of stored outcomes: missing, whole and damaged files, and the way out for each kind."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from dpo_core.evaluation.outcomes import write_outcomes
from dpo_core.storage.store import Store
from sweeps.run_dir.json_files import DamagedFile
from sweeps.run_dir.outcome_files import (
    read_outcomes_of,
    read_stored_outcomes,
    stored_evaluations,
)
from sweeps.run_dir.paths import SweepPaths
from tests.support.records import outcomes

NAMES = {
    "select": SweepPaths.outcome("t0000", 40),
    "final": SweepPaths.final_outcome("t0000", 40),
    "incumbent": SweepPaths.incumbent_outcome("select"),
}
WAYS_OUT = {
    "select": r"restore it from a copy, or delete it, and .*resume .*/hh-1` chooses among the other",
    "final": r"`dpo-sweeps resume .*/hh-1` scores the model again",
    "incumbent": r"`dpo-sweeps resume .*/hh-1` scores the model again",
}


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    return SweepPaths(Store.open(tmp_path), "hh-1")


def content(step: int = 40) -> bytes:
    return write_outcomes(outcomes(), {"trial": "t0000", "step": step, "loss": 0.5})


@pytest.mark.parametrize("kind", NAMES)
def test_a_missing_whole_and_damaged_file(paths: SweepPaths, kind: str) -> None:
    name = NAMES[kind]
    assert read_stored_outcomes(paths, name) is None
    with pytest.raises(DamagedFile, match=f"{name}: is missing; {WAYS_OUT[kind]}"):
        read_outcomes_of(paths, name)
    paths.store.write(name, content())
    for read in (read_outcomes_of, read_stored_outcomes):
        assert read(paths, name).ids == outcomes().ids
    paths.store.write(name, content()[:-9])
    for read in (read_outcomes_of, read_stored_outcomes):
        with pytest.raises(DamagedFile, match=f"{name}: is damaged; {WAYS_OUT[kind]}"):
            read(paths, name)


def test_of_a_trials_evaluations_the_damaged_ones_count_as_not_made(
    paths: SweepPaths, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (30, 10, 20):
        paths.store.write(paths.outcome("t0000", step), content(step))
    paths.store.write(paths.outcome("t0001", 10), content())
    paths.store.write(paths.outcome("t0000", 20), content(20)[:-9])
    with caplog.at_level(logging.WARNING, "dpo_sweeps"):
        evaluations = stored_evaluations(paths, "t0000")
    assert caplog.messages == [
        f"{paths.store.uri}/{paths.outcome('t0000', 20)}: is damaged; it counts as not made"
    ]
    assert [metadata["step"] for metadata, _ in evaluations] == [10, 30]
    assert all(stored.ids == outcomes().ids for _, stored in evaluations)
