"""One program at a time on a sweep, a night, or whatever has a name. Who comes second is told who
holds it, and leaves.

In a directory this is a file lock: the kernel frees it the moment its holder dies. An object store
has none, so the holder writes its note anew every few seconds, and whoever comes waits to see
whether it changes: no two clocks are compared, and a dead holder is found out in `_SILENCE_S`.
"""

from __future__ import annotations

import _thread
import contextlib
import itertools
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dpo_core.errors import StorageError, UserError
from dpo_core.storage.retry import wrong_kind_as_storage_error
from dpo_core.storage.store import Store
from sweeps.run_dir import json_files

_RENEW_S, _SILENCE_S = 5.0, 20.0


class Busy(UserError):
    """Another process works on the same sweep or nights; trying again later may succeed."""

    exit_code = 75


@contextlib.contextmanager
def held(store: Store, name: str) -> Iterator[None]:
    """Hold `name` for the length of the block. Raises Busy when somebody else does.

    `store` keeps who holds what. On an object store, a holder that was out of touch for so long that
    another took its place is interrupted, and raises Busy.
    """
    hold = _locked if store.local is not None else _renewed
    with hold(_Note(store, name)):
        yield


class _Note:
    """Who holds the name, for all to read."""

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.name, self.file = store, name, f"{name}.json"
        self.mine = {
            "holder": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def write(self, beat: int = 0) -> None:
        self.store.write(self.file, json.dumps({**self.mine, "beat": beat}).encode())

    def read(self) -> dict[str, Any]:
        """{} where there is none that can be read."""
        note: dict[str, Any] | None = json_files.LOCK_NOTE.rebuildable(self.store, self.file)
        return note or {}

    @property
    def is_mine(self) -> bool:
        return bool(self.read().get("holder") == self.mine["holder"])

    @property
    def is_taken(self) -> bool:
        return bool(self.read().get("holder", self.mine["holder"]) != self.mine["holder"])

    def delete(self) -> None:
        self.store.delete(self.file)

    def busy(self) -> Busy:
        note = self.read()
        pid, host, since = (note.get(key, "?") for key in ("pid", "host", "since"))
        return Busy(
            f"{self.name}: process {pid} on {host} has been at work on it since {since}; wait until "
            "it ends, or end it, and start again"
        )


@contextlib.contextmanager
def _locked(note: _Note) -> Iterator[None]:
    folder = Path(note.store.root)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str(folder / f"{note.name}.lock"))
    try:
        with wrong_kind_as_storage_error(note.store, f"{note.name}.lock"):
            lock.acquire(timeout=0)
    except Timeout:
        raise note.busy() from None
    try:
        note.write()
        yield
    finally:
        # The lock's file stays: whoever deletes it may take it from under the next holder.
        lock.release()


@contextlib.contextmanager
def _renewed(note: _Note) -> Iterator[None]:
    _wait_for_silence(note)
    note.write()
    time.sleep(_RENEW_S / 5)  # of two that write at once, the later one stays
    if not note.is_mine:
        raise note.busy()
    done, lost = threading.Event(), threading.Event()
    renewer = threading.Thread(target=_renew, args=(note, done, lost), daemon=True)
    renewer.start()
    try:
        yield
    except KeyboardInterrupt:
        if lost.is_set():
            raise note.busy() from None
        raise
    finally:
        done.set()
        renewer.join()
        if not lost.is_set():
            with contextlib.suppress(OSError, StorageError):  # what is left behind falls silent
                note.delete()


def _renew(note: _Note, done: threading.Event, lost: threading.Event) -> None:
    """Until `done`. A holder that was held up for too long finds another's note, and stops."""
    for beat in itertools.count(1):
        if done.wait(_RENEW_S):
            return
        with contextlib.suppress(OSError, StorageError):  # out of reach, for others too
            if note.is_taken:
                lost.set()
                _thread.interrupt_main()
                return
            note.write(beat)


def _wait_for_silence(note: _Note) -> None:
    """Returns when nobody holds the name; raises Busy as soon as its note is seen to change."""
    before = note.read()
    deadline = time.monotonic() + _SILENCE_S
    while before and time.monotonic() < deadline:
        time.sleep(_RENEW_S / 5)
        now = note.read()
        if now and now != before:
            raise note.busy()
        before = now
