"""One program at a time: real processes that hold, die, hang and come back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dpo_core.storage.store import Store
from sweeps.run_dir import lock as locks
from sweeps.run_dir.lock import Busy, lock
from tests.support import bucket  # noqa: F401  (registers the scheme)

# Holds the name until its standard input ends; says so, and says when it could not.
HOLDER = """
import sys, threading, time
from tests.support import bucket
from dpo_core.storage.store import Store
from sweeps.run_dir import lock as locks
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


@pytest.fixture(params=["folder", "object store"])
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A directory, and a file system of fsspec that offers no lock."""
    monkeypatch.setattr(locks, "_RENEW_S", 0.3)
    monkeypatch.setattr(locks, "_SILENCE_S", 1.5)
    return str(tmp_path) if request.param == "folder" else f"bucket://{tmp_path}"


@pytest.fixture
def start(uri: str) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def run(renew_s: float = 0.3) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDER, uri, str(renew_s)]
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


def test_of_several_that_start_at_once_one_holds(uri: str, start: Start) -> None:
    # A fifth of it is the time in which each must have written its note: more than a busy machine
    # may take between a process's look at the note and its own.
    several = [start(renew_s=4.0) for _ in range(4)]
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


@pytest.mark.parametrize("uri", ["object store"], indirect=True)
def test_a_holder_that_was_held_up_gives_way(start: Start) -> None:
    """A file lock stays with its holder, however long it sleeps; a lease must not."""
    first = start()
    assert said(first) == "holds"
    first.send_signal(signal.SIGSTOP)
    second = start()
    assert said(second) == "holds"
    first.send_signal(signal.SIGCONT)
    assert said(first) == "busy"
    assert second.poll() is None
