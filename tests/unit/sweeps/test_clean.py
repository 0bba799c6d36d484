"""`dpo-sweeps clean`: what it lists and removes, and what it never touches.

What other commands do afterwards is tested in tests/unit/sweeps/run_dir/test_damaged_files.py.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from dpo_core.storage.store import Store
from sweeps.clean import clean, find_cleanable
from sweeps.run_dir.lock import lock
from sweeps.run_dir.paths import SweepPaths
from tests.support.ended_sweep import write_ended_sweep
from tests.support.exported_models import write_best
from tests.support.in_process import command

ENDED, KILLED = "ended", "killed"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The storage of two sweeps: one has ended, the other was killed."""
    runs = tmp_path / "runs"
    for name in (ENDED, KILLED):
        paths = write_ended_sweep(runs)
        for size, file in enumerate(("checkpoints/t0001/step-000008/weights", "ray/tune-1/r"), 1):
            paths.store.write(file, bytes(1000 * size))
        paths.store.write("report/index.html", b"<html>")
        if name == ENDED:
            write_best(paths, "t0001", 8)
            winner = {"trial": "t0001", "step": 8}
            rest = dict.fromkeys(("sweep", "folder", "objective", "verdict", "trials"))
            paths.store.write(paths.selection, json.dumps({**rest, "winner": winner}).encode())
        (runs / "old").rename(runs / name)
    lines = (runs / KILLED / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (runs / KILLED / "ledger.jsonl").write_bytes(lines[0])
    for shared in (".cache/reference/key/a", ".leases/ended.000000003.claim", "nights/a/b.json"):
        Store.open(runs).write(shared, b"x")
    note = {"holder": "a", "fence": 3, "released": True}
    Store.open(runs).write(".leases/ended.json", json.dumps(note).encode())
    monkeypatch.chdir(tmp_path)
    return runs


@pytest.fixture
def before(runs: Path) -> set[str]:
    return files_of(runs)


def cleaned(*arguments: str) -> dict[str, Any]:
    done = command("clean", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def rows(answer: dict[str, Any]) -> dict[str, Any]:
    return {row["sweep"]: row for row in answer["sweeps"]}


def files_of(folder: Path) -> set[str]:
    return {str(each.relative_to(folder)) for each in folder.rglob("*")}


def test_without_yes_it_lists_and_touches_nothing(runs: Path, before: set[str]) -> None:
    answer = cleaned("runs")
    assert not answer["removed"]
    ended, killed = rows(answer)[ENDED], rows(answer)[KILLED]
    assert ended["bytes"] == {"checkpoints": 1000, "ray": 2000}
    assert answer["bytes"] == 3000
    assert (ended["state"], killed["state"]) == ("ended", "not ended")
    assert ended["why_not"] is None
    assert killed["bytes"] == ended["bytes"], "what it would give back if it were named"
    assert "`resume` goes on with it: 1 of 3 trials have ended" in killed["why_not"]
    assert files_of(runs) == before
    shown = command("clean", "runs")
    assert "2.9 KiB to give back; `dpo-sweeps clean runs --yes` removes it" in shown.stdout
    assert KILLED in shown.stdout


def test_checkpoints_and_rays_files_of_what_has_ended_go(runs: Path, before: set[str]) -> None:
    assert cleaned("runs", "--yes")["bytes"] == 3000
    gone = before - files_of(runs)
    removed = {f"{ENDED}/checkpoints", f"{ENDED}/ray", ".leases/ended.000000003.claim"}
    assert {"/".join(name.split("/")[:2]) for name in gone} == removed
    assert f"{ENDED}/cleaned.json" in files_of(runs)
    assert ".leases/ended.000000004.claim" in files_of(runs), "the highest, which clean took itself"
    assert cleaned("runs", "--yes")["bytes"] == 0, "the second time there is nothing left"


def test_a_sweep_that_runs_is_never_touched(runs: Path, before: set[str]) -> None:
    with lock(Store.open(runs / ".leases"), ENDED):
        answer = cleaned("runs", "--yes", "--unfinished", ENDED)
    assert rows(answer)[ENDED]["state"] == "running"
    assert answer["bytes"] == 0
    assert {name for name in before if ".leases" not in name} <= files_of(runs)


def test_one_that_began_to_run_since_it_was_listed_is_not_either(
    runs: Path, before: set[str]
) -> None:
    sweeps = find_cleanable(str(runs))
    with lock(Store.open(runs / ".leases"), ENDED):
        [ended] = [each for each in clean(sweeps) if each.paths.sweep_id == ENDED]
    assert (ended.state, ended.removed_bytes) == ("running", 0)
    assert {name for name in before if ".leases" not in name} <= files_of(runs)


def test_one_that_has_not_ended_is_cleaned_when_it_is_named(runs: Path) -> None:
    answer = cleaned("runs", "--yes", "--unfinished", KILLED)
    assert rows(answer)[KILLED]["bytes"]["ray"] == 2000
    assert not (runs / KILLED / "checkpoints").exists()
    wrong = command("clean", "runs", "--unfinished", "old")
    assert wrong.returncode == 2
    assert "runs has no sweep of that id" in wrong.stderr


def test_the_only_copy_of_a_winner_stays(runs: Path) -> None:
    weights = next((runs / ENDED / "best").glob("*.safetensors"))
    weights.write_bytes(b"damaged")
    answer = cleaned("runs", "--yes")
    assert rows(answer)[ENDED]["why_not"].startswith("a file of best/ is damaged")
    assert (runs / ENDED / "checkpoints").exists()
    shutil.rmtree(runs / ENDED / "best")
    assert "its winner is not in best/" in rows(cleaned("runs", "--yes"))[ENDED]["why_not"]


def test_links_are_neither_followed_nor_removed(runs: Path, tmp_path: Path) -> None:
    for name in ("checkpoints", "ray"):
        (runs / ENDED / name).rename(tmp_path / name)
        (runs / ENDED / name).symlink_to(tmp_path / name)
    elsewhere = shutil.move(runs / KILLED, tmp_path / KILLED)
    (runs / KILLED).symlink_to(elsewhere)
    answer = cleaned("runs", "--yes", "--unfinished", KILLED)
    assert answer["bytes"] == 0
    assert rows(answer)[KILLED]["state"] == "of another user"
    assert (tmp_path / "ray" / "tune-1" / "r").exists()
    assert (tmp_path / KILLED / "checkpoints").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_another_users_sweep_is_not_touched(runs: Path) -> None:
    os.chown(runs / ENDED, 65534, 65534)
    answer = cleaned("runs", "--yes", "--unfinished", ENDED)
    assert rows(answer)[ENDED]["state"] == "of another user"
    assert (runs / ENDED / "checkpoints").exists()


def test_a_folder_without_a_sweep_is_told(tmp_path: Path) -> None:
    done = command("clean", str(tmp_path))
    assert done.returncode == 2
    assert "holds no sweep" in done.stderr


def test_a_bucket_is_listed_by_its_sizes(tmp_path: Path) -> None:
    store = Store.open(tmp_path.as_uri())
    store.write("a/b/c", bytes(5))
    store.write("a/d", bytes(7))
    assert store.size("a") == 12
    assert store.size("absent") == 0
    assert SweepPaths(store, "a").store.size("b") == 5
