"""Every file name of a sweep's folder, and the folder found again from what a user types."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from dpo_core.storage.store import Store
from sweeps.run_dir.paths import SweepPaths, new_sweep_id, step_name


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    return SweepPaths(Store.open(tmp_path), "hh-1")


def test_names() -> None:
    assert SweepPaths.split("train") == "splits/train.jsonl"
    assert SweepPaths.encoded("final") == "encoded/final.arrow"
    assert SweepPaths.trial_name(3) == "t0003"
    assert SweepPaths.trial_name(12345) == "t12345"
    assert SweepPaths.point("t0003") == "trials/t0003.json"
    assert SweepPaths.failure("t0003") == "failures/t0003.json"
    assert SweepPaths.outcome("t0003", 40) == "outcomes/t0003-step-000040.parquet"
    assert SweepPaths.final_outcome("t0003", 4) == "outcomes/t0003-step-000004-final.parquet"
    assert SweepPaths.checkpoint("t0003", 40) == "checkpoints/t0003/step-000040"
    assert step_name(1234567) == "step-1234567"


def test_everything_lies_in_the_sweeps_folder_but_the_reference_cache(
    paths: SweepPaths, tmp_path: Path
) -> None:
    paths.store.write(paths.config, b"x")
    assert (tmp_path / "hh-1" / "config.yaml").read_bytes() == b"x"
    assert paths.reference_cache.local == tmp_path / ".cache" / "reference"


def test_evaluations_by_step_and_not_by_name(paths: SweepPaths) -> None:
    # 1,000,000 has one digit more than the padding, so names would sort it before 999,999.
    for trial, step in (("t0001", 1_000_000), ("t0001", 40), ("t0002", 40), ("t0001", 999_999)):
        paths.store.write(paths.outcome(trial, step), b"x")
    paths.store.write(paths.final_outcome("t0001", 4), b"x")
    paths.store.write("outcomes/notes.txt", b"x")
    paths.store.write("outcomes/t0001-step-000050.parquet.part", b"x")
    assert paths.evaluations_of("t0001") == [
        (40, "outcomes/t0001-step-000040.parquet"),
        (999_999, "outcomes/t0001-step-999999.parquet"),
        (1_000_000, "outcomes/t0001-step-1000000.parquet"),
    ]
    assert paths.evaluations_of("t0003") == []


def test_a_trial_whose_name_begins_like_anothers(paths: SweepPaths) -> None:
    for trial in ("t1000", "t10000"):
        paths.store.write(paths.outcome(trial, 4), b"x")
    assert [name for _, name in paths.evaluations_of("t1000")] == [paths.outcome("t1000", 4)]


def test_a_point_trained_again_has_a_name_of_its_own(paths: SweepPaths) -> None:
    again = paths.confirmation_name("t0003", 1)
    assert (again, paths.confirms(again), paths.confirms("t0003")) == ("t0003-s1", "t0003", None)
    for trial in ("t0003", again, "t0003-s10"):
        paths.store.write(paths.outcome(trial, 4), b"x")
    for trial in ("t0003", again):
        assert paths.evaluations_of(trial) == [(4, f"outcomes/{trial}-step-000004.parquet")]


def test_checkpoint_steps(paths: SweepPaths) -> None:
    for step in (20, 1_000_000, 3):
        paths.store.write(f"{paths.checkpoint('t0001', step)}/manifest.json", b"{}")
    paths.store.write("checkpoints/t0001/.writing-abc/half", b"x")
    assert paths.checkpoint_steps("t0001") == [3, 20, 1_000_000]
    assert paths.checkpoint_steps("t0002") == []


@pytest.mark.parametrize("typed", ["runs/hh-1", "runs/hh-1/", "./runs/hh-1", "runs/../runs/hh-1"])
def test_the_folder_as_it_is_typed(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs" / "hh-1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for uri in (typed, str(tmp_path / typed)):
        reopened = SweepPaths.of_folder(uri)
        assert reopened.sweep_id == "hh-1"
        assert reopened.storage.local == tmp_path / "runs"


@pytest.mark.parametrize(("inside", "typed"), [("", "."), ("", "./"), ("best", "..")])
def test_the_folder_from_inside_it(
    inside: str, typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hh-1" / "best").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "hh-1" / inside)
    reopened = SweepPaths.of_folder(typed)
    # The reference cache lies beside the sweep: with another storage it would not be reopened again.
    assert (reopened.sweep_id, reopened.storage.local) == ("hh-1", tmp_path)


def test_a_folder_at_the_root() -> None:
    reopened = SweepPaths.of_folder("/hh-1")
    assert (reopened.sweep_id, str(reopened.storage.local)) == ("hh-1", "/")


def test_a_folder_by_its_uri(tmp_path: Path) -> None:
    SweepPaths(Store.open(tmp_path), "hh-1").store.write("config.yaml", b"x")
    reopened = SweepPaths.of_folder(f"file://{tmp_path}/hh-1/")
    assert (reopened.sweep_id, reopened.storage.local) == ("hh-1", tmp_path)
    assert reopened.store.read(reopened.config) == b"x"


def test_a_new_id_sorts_by_time() -> None:
    morning = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert new_sweep_id("hh", morning) == "hh-20260102-030405"
    assert new_sweep_id("hh", morning) < new_sweep_id("hh", morning.replace(hour=10))
    assert new_sweep_id("hh").startswith("hh-2")


def test_what_was_being_written_is_found_in_the_sweep_and_in_what_sweeps_share(
    tmp_path: Path,
) -> None:
    paths = SweepPaths(Store.open(tmp_path), "hh-1")
    own = {tmp_path / "hh-1" / each for each in ("", "checkpoints/t0001", "outcomes")}
    names = ("", ".cache/reference/key", ".leases", ".finals/openings", "nights/hh")
    shared = {tmp_path / each for each in names}
    others = {tmp_path / each for each in ("hh-1/ray/train", "hh-2", "somebodys/folder")}
    for folder in own | shared | others:
        (folder / ".writing-abc").mkdir(parents=True)
    assert {each.parent for each in paths.partial_files()} == own
    assert {each.parent for each in paths.shared_partial_files()} == shared
