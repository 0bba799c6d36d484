"""What no process uses is removed; what is used, linked to, or another user's is not."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dpo_core.storage import usage_lock
from dpo_core.storage.usage_lock import lock_in_use, remove_unused

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
NOBODY = 65534


@pytest.fixture(params=["file", "folder"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "left"
    if request.param == "folder":
        (path / "deep").mkdir(parents=True)
        (path / "deep" / "file").write_text("x")
    else:
        path.write_text("x")
    return path


def test_what_is_used_stays_until_the_last_process_has_left_it(path: Path) -> None:
    locks = [lock_in_use(path), lock_in_use(path)]
    for lock in locks:
        assert lock is not None
        assert not remove_unused(path)
        os.close(lock)
    assert remove_unused(path)
    assert not path.exists()
    assert not remove_unused(path), "it is gone"
    assert lock_in_use(path) is None


def test_a_kill_frees_it(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from dpo_core.storage.usage_lock import lock_in_use\n"
        "lock = lock_in_use(Path(sys.argv[1])); print(flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    assert not remove_unused(path)
    process.kill()
    process.communicate()
    assert remove_unused(path)


def test_what_is_being_removed_is_not_taken_into_use(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert lock_in_use(path) is None
    os.close(descriptor)
    assert lock_in_use(path) is not None


def test_links_are_not_followed(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    assert not remove_unused(link)
    assert link.is_symlink()
    outer = tmp_path / "outer"
    outer.mkdir()
    (outer / "link").symlink_to(path)
    assert remove_unused(outer)
    assert path.exists(), "only the link went"


@as_root
def test_what_holds_anything_of_another_user_stays(path: Path) -> None:
    os.chown(path / "deep" / "file" if path.is_dir() else path, NOBODY, NOBODY)
    assert not remove_unused(path)
    assert not remove_unused(path, otherwise_after_s=0)
    assert path.exists()


def test_neither_is_what_is_no_file_and_no_folder(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert not remove_unused(pipe)


def test_without_file_locks_time_decides_if_at_all(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(usage_lock.fcntl, "flock", refuse)
    lock = lock_in_use(path)
    assert lock is not None
    os.close(lock)
    assert not remove_unused(path)
    assert not remove_unused(path, otherwise_after_s=60)
    for each in [*path.rglob("*"), path]:
        os.utime(each, (time.time() - 120,) * 2)
    assert remove_unused(path, otherwise_after_s=60)


def test_a_lock_that_says_nothing_of_other_machines_is_not_enough(path: Path) -> None:
    assert not remove_unused(path, is_lock_trusted=False, otherwise_after_s=60)
    lock = lock_in_use(path)
    assert lock is not None
    assert not remove_unused(path, is_lock_trusted=False, otherwise_after_s=0), (
        "it says who uses it"
    )
    os.close(lock)
    assert remove_unused(path, is_lock_trusted=False, otherwise_after_s=0)
