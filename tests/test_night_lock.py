"""The lock on the storage: real processes that start at once, die, sleep and come back."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpo_core.store import Store
from sweeps.night_lock import LockHeld, NightLock, held

FOLDER = "nights/toy/claims"
# Short, and yet long beside what a busy machine takes to write a small file.
BEAT_S, DEAD_AFTER_S = 0.2, 4.0

HOLDER = f"""
import sys, time
from dpo_core.store import Store
from sweeps.night_lock import LockHeld, held
print("ready", flush=True)
sys.stdin.readline()
try:
    with held(Store.open(sys.argv[1]), {FOLDER!r}, lambda text: print(text, flush=True),
              beat_s={BEAT_S}, dead_after_s={DEAD_AFTER_S}):
        print("holds", flush=True)
        time.sleep(float(sys.argv[2]))
except LockHeld as error:
    print("lost:" if "lost" in str(error) else "held:", error, flush=True)
    sys.exit(75)
"""


def start(storage: Path, seconds: float) -> subprocess.Popen[str]:
    """A process that imports everything, says so and waits for `go`."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(storage), str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of `tmp_path`."""
    process = start(tmp_path, 120)
    assert line_of(process) == "ready\n"
    go(process)
    assert line_of(process) == "holds\n"
    yield process
    process.kill()
    process.wait()


def contend(
    storage: Path, said: list[str] | None = None
) -> contextlib.AbstractContextManager[None]:
    say = (said if said is not None else []).append
    store = Store.open(storage)
    return held(store, FOLDER, say, beat_s=BEAT_S, dead_after_s=DEAD_AFTER_S)


def claims(storage: Path) -> list[str]:
    return Store.open(storage).names(FOLDER)


def test_of_processes_that_start_at_once_exactly_one_runs(tmp_path: Path) -> None:
    processes = [start(tmp_path, 3) for _ in range(4)]
    assert {line_of(process) for process in processes} == {"ready\n"}
    for process in processes:
        go(process)
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 75, 75, 75], outputs
    winner = next(p for p in processes if p.returncode == 0)
    for process, output in zip(processes, outputs, strict=True):
        if process is not winner:
            assert f"process {winner.pid} on" in output, "it names the holder"
    assert claims(tmp_path) == []


def test_a_live_holder_is_found_out_soon(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(LockHeld, match=f"held|process {holder.pid}"), contend(tmp_path):
        pytest.fail("two hold it")
    assert len(claims(tmp_path)) == 1, "the loser took its own file away"


def test_the_lock_survives_the_death_of_its_holder(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    holder.kill()
    holder.wait()
    said: list[str] = []
    started = time.monotonic()
    with contend(tmp_path, said):
        assert time.monotonic() - started >= DEAD_AFTER_S, "it might have been alive"
    assert f"process {holder.pid} on" in said[-1]
    assert "is dead; taking over" in said[-1]
    assert claims(tmp_path) == []


def test_a_holder_that_slept_learns_that_it_was_replaced(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    holder.send_signal(signal.SIGSTOP)
    with contend(tmp_path):
        holder.send_signal(signal.SIGCONT)
        assert line_of(holder).startswith("lost:")
        assert holder.wait(60) == 75
        assert len(claims(tmp_path)) == 1, "it did not touch the new holder's file"


def test_a_storage_that_is_away_for_a_moment_costs_nothing(tmp_path: Path) -> None:
    storage, away = tmp_path / "storage", tmp_path / "away"
    storage.mkdir()
    with contend(storage):
        storage.rename(away)
        storage.write_text("no folder, so that nothing can be written below it")
        time.sleep(4 * BEAT_S)
        storage.unlink()
        away.rename(storage)
        time.sleep(4 * BEAT_S)
    assert claims(storage) == []


def test_a_name_that_is_free_again_is_free(tmp_path: Path) -> None:
    for _ in range(2):
        with contend(tmp_path):
            pass


def test_never_two_at_once_on_an_object_store_either() -> None:
    """Many contenders of one store without rename or exclusive create, over and over."""
    store = Store.open("memory://never-two")
    inside, most, won = 0, 0, 0
    guard = threading.Lock()

    def contender() -> None:
        nonlocal inside, most, won
        for _ in range(6):
            lock = NightLock(store, FOLDER, 0.02, 5.0, lambda: None)
            with contextlib.suppress(LockHeld):
                lock.acquire(lambda text: None)
                with guard:
                    inside, won = inside + 1, won + 1
                    most = max(most, inside)
                time.sleep(0.05)
                with guard:
                    inside -= 1
                lock.release()

    threads = [threading.Thread(target=contender) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert won >= 6
