"""One program at a time: real processes that hold, die, hang and come back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dpo_core.errors import StorageError
from dpo_core.storage.store import Store
from sweeps.run_dir import lock as locks
from sweeps.run_dir.lock import Busy, lock
from tests.support import bucket, file_locks  # noqa: F401  (bucket registers its scheme)

# Holds the name until its standard input ends; says so, and says when it could not.
HOLDER = """
import sys, threading, time
from tests.support import bucket, file_locks
from dpo_core.storage.store import Store
from sweeps.run_dir import lock as locks
getattr(file_locks, sys.argv[3])(setattr)
locks._RENEW_S, locks._SILENCE_S = float(sys.argv[2]), 5 * float(sys.argv[2])
try:
    with locks.lock(Store.open(sys.argv[1]), "night"):
        done = threading.Event()
        threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
        print("holds", flush=True)
        while not done.wait(0.02):
            pass
except locks.Busy as busy:
    print("busy", flush=True)
"""
Start = Callable[..., "subprocess.Popen[str]"]


STORAGES = {
    "folder": "usual",
    "folder without flock": "missing",
    "folder with flock of each machine": "local_to_each_machine",
    "folder with flock for everybody": "granted_to_everybody",
    "object store": "usual",
}


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(locks, "_RENEW_S", 0.3)
    monkeypatch.setattr(locks, "_SILENCE_S", 1.5)
    getattr(file_locks, STORAGES[request.param])(monkeypatch.setattr)
    return str(request.param)


@pytest.fixture
def uri(storage: str, tmp_path: Path) -> str:
    """A directory, and a file system of fsspec that offers no lock."""
    return f"bucket://{tmp_path}" if storage == "object store" else str(tmp_path)


@pytest.fixture
def start(uri: str, storage: str) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def run(renew_s: float = 0.3) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDER, uri, str(renew_s), STORAGES[storage]]
        pipe, env = subprocess.PIPE, {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_second_is_told_who_holds_it(uri: str, start: Start) -> None:
    first = start()
    assert said(first) == "holds"
    with (
        pytest.raises(Busy, match=f"night: process {first.pid} on .* since 20"),
        lock(Store.open(uri), "night"),
    ):
        pass
    with lock(Store.open(uri), "another"):
        pass


def test_a_holder_that_leaves_frees_it(uri: str, start: Start) -> None:
    first = start()
    assert said(first) == "holds"
    first.communicate("leave")
    with lock(Store.open(uri), "night"), pytest.raises(Busy), lock(Store.open(uri), "night"):
        pass


def test_it_dies_with_its_holder(uri: str, start: Start) -> None:
    first = start()
    assert said(first) == "holds"
    first.kill()
    first.wait()
    started = time.monotonic()
    with lock(Store.open(uri), "night"):
        assert time.monotonic() - started < 10
    assert said(start()) == "holds"


def test_of_several_that_start_at_once_one_holds(storage: str, start: Start) -> None:
    # In an object store, a fifth of it is the time in which each must have written its note: more
    # than a busy machine may take between a process's look at the note and its own.
    several = [start(renew_s=4.0 if storage == "object store" else 1.0) for _ in range(4)]
    assert sorted(said(process) for process in several) == ["busy"] * 3 + ["holds"]


def test_an_error_inside_is_the_callers_and_frees_it(uri: str) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), lock(Store.open(uri), "night"):
            raise ZeroDivisionError


@pytest.mark.parametrize("content", [b"", b'{"holder": "a', b"[]"])
def test_a_torn_note_is_no_holder(uri: str, content: bytes) -> None:
    Store.open(uri).write("night.json", content)
    with lock(Store.open(uri), "night"):
        pass


@pytest.mark.parametrize("storage", [name for name in STORAGES if name != "folder"], indirect=True)
def test_a_holder_that_was_held_up_gives_way(start: Start) -> None:
    """A file lock stays with its holder, however long it sleeps; a note alone must not."""
    first = start()
    assert said(first) == "holds"
    first.send_signal(signal.SIGSTOP)
    second = start()
    assert said(second) == "holds"
    first.send_signal(signal.SIGCONT)
    assert said(first) == "busy"
    assert second.poll() is None


@pytest.mark.parametrize("storage", ["folder", "folder without flock"], indirect=True)
def test_a_dead_holder_of_this_machine_is_not_waited_for(
    uri: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start()
    assert said(first) == "holds"
    first.kill()
    first.wait()
    monkeypatch.setattr(locks, "_SILENCE_S", 60.0)
    started = time.monotonic()
    with lock(Store.open(uri), "night"):
        assert time.monotonic() - started < 2


@pytest.mark.parametrize("storage", ["folder", "object store"], indirect=True)
def test_what_is_written_after_the_lock_was_lost_is_refused(uri: str) -> None:
    with lock(Store.open(uri), "night"):
        locks.check_locks()
        note = json.loads(Store.open(uri).read("night.json"))
        later = {**note, "holder": "another", "host": "gpu-9", "pid": 7, "fence": 9}
        Store.open(uri).write("night.json", json.dumps(later).encode())
        with pytest.raises(Busy, match="night: process 7 on gpu-9"):
            locks.check_locks()
    assert json.loads(Store.open(uri).read("night.json"))["holder"] == "another"


@pytest.mark.parametrize("storage", ["folder"], indirect=True)
def test_the_number_grows_with_each_holder_and_a_late_write_of_the_last_one_does_not_count(
    uri: str,
) -> None:
    notes = []
    for _ in range(3):
        with lock(Store.open(uri), "night"):
            notes.append(json.loads(Store.open(uri).read("night.json")))
    assert [note["fence"] for note in notes] == [1, 2, 3]
    with lock(Store.open(uri), "night"):
        Store.open(uri).write("night.json", json.dumps(notes[-1]).encode())
        locks.check_locks()
    assert Store.open(uri).names() == ["night.000000004.claim", "night.json", "night.lock"]


@pytest.mark.parametrize("storage", ["folder without flock"], indirect=True)
def test_a_claim_without_a_note_is_a_holder_until_it_is_silent(uri: str) -> None:
    """Its process may be about to write the note."""
    Store.open(uri).write("night.000000001.claim", b"")
    started = time.monotonic()
    with lock(Store.open(uri), "night"):
        assert time.monotonic() - started > 1.4
        assert json.loads(Store.open(uri).read("night.json"))["fence"] == 2


@pytest.mark.parametrize("storage", ["folder", "folder without flock"], indirect=True)
def test_a_folder_without_exclusive_creation_is_refused_by_name(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def ignores_excl(path: object, flags: int, *mode: int, **options: int) -> int:
        return real(path, flags & ~os.O_EXCL, *mode, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", ignores_excl)
    with pytest.raises(StorageError, match=rf"^{uri}: exclusive creation .* tried and fails"):
        lock(Store.open(uri), "night").__enter__()
