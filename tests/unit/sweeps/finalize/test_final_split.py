"""The final split is opened once, and what it was opened for is on record, here and in the register."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_core.storage.store import Store
from sweeps.finalize.final_split import (
    FinalSpent,
    Opening,
    describe_next_opening,
    find_opening,
    read_openings,
)
from sweeps.run_dir import json_files
from sweeps.run_dir.final_register import FinalRegister
from sweeps.run_dir.paths import SweepPaths
from tests.support.ended_sweep import open_final_of

FIRST, SECOND = "t0001 at step 8", "t0002 at step 4"


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    return SweepPaths(Store.open(tmp_path), "hh-1")


def test_final_is_opened_once_and_the_record_says_when_for_whom_and_against_whom(
    paths: SweepPaths,
) -> None:
    opening = open_final_of(paths, FIRST, "2026-01-01T00:00:00+00:00", declared=3)
    assert opening == Opening(
        "2026-01-01T00:00:00+00:00", FIRST, forced=False, against="reference", number=1, declared=3
    )
    assert open_final_of(paths, FIRST, "2026-01-02", declared=9) == opening
    assert read_openings(paths) == [opening]
    assert find_opening(paths, FIRST, "reference") == opening
    assert find_opening(paths, SECOND, "reference") is None
    assert len(FinalRegister.of(paths.storage).openings()) == 1


@pytest.mark.parametrize(("why", "against"), [(SECOND, "reference"), (FIRST, "runs/hh-0/best")])
def test_another_choice_or_opponent_has_to_be_forced(
    paths: SweepPaths, why: str, against: str
) -> None:
    first = open_final_of(paths, FIRST, "2026-01-01")
    with pytest.raises(
        FinalSpent, match=r"was opened on 2026-01-01 for .* against reference.*--open-final-again"
    ):
        open_final_of(paths, why, "2026-01-03", against=against)
    assert read_openings(paths) == [first]
    second = open_final_of(paths, why, "2026-01-03", against=against, force=True)
    assert (second.forced, second.number, second.declared) == (True, 2, 1)
    assert read_openings(paths) == [first, second]


def test_a_kill_before_the_sweep_has_its_record_is_no_further_opening(paths: SweepPaths) -> None:
    opening = open_final_of(paths, FIRST, "2026-01-01")
    paths.store.delete(paths.final_opened)
    assert open_final_of(paths, FIRST, "2026-01-02") == opening
    assert read_openings(paths) == [opening]
    assert len(FinalRegister.of(paths.storage).openings()) == 1


def test_sweeps_of_one_storage_share_their_openings(paths: SweepPaths) -> None:
    other = SweepPaths(paths.storage, "hh-2")
    assert open_final_of(paths, FIRST, "2026-01-01", declared=2).number == 1
    assert open_final_of(other, FIRST, "2026-01-02", declared=9).number == 2
    assert read_openings(other)[0].declared == 2
    fresh = SweepPaths(paths.storage, "hh-3")
    assert open_final_of(fresh, FIRST, "2026-01-03", questions={"fresh"}).number == 1


def test_an_opening_of_an_earlier_version_enters_the_register_when_it_is_asked_for(
    paths: SweepPaths,
) -> None:
    earlier = [
        {"when": "2025-12-01", "why": FIRST, "forced": False},
        {"when": "2025-12-02", "why": SECOND, "forced": True},
    ]
    json_files.FINAL_OPENED.write(paths.store, paths.final_opened, earlier)
    assert [(o.number, o.declared) for o in read_openings(paths)] == [(1, 1), (2, 1)]
    assert FinalRegister.of(paths.storage).openings() == []
    opening = open_final_of(paths, FIRST, "2026-01-01", against="production")
    assert (opening.when, opening.against, opening.forced) == ("2025-12-01", "production", False)
    [registered] = FinalRegister.of(paths.storage).openings()
    assert registered.when == "2025-12-01"
    assert [o.why for o in read_openings(paths)] == [FIRST, SECOND]
    assert read_openings(paths)[0] == opening


def test_a_sweep_that_begins_hears_what_final_is_worth() -> None:
    assert describe_next_opening(1, 1) is None
    within, beyond = (describe_next_opening(2, declared) or "" for declared in (3, 1))
    assert within.startswith(
        "prompts of final were in 1 opening of a final split before, of 3 that"
    )
    assert "declared for 1: this sweep will have numbers, but no verdict" in beyond
    assert "in 2 openings of" in (describe_next_opening(3, 3) or "")
