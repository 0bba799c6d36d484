"""A lock for sweeps and nights: one process at a time works on a name; a second one is refused.

In a directory this is a file lock, which the kernel frees as soon as its holder dies. An object store
has no locks, so there it is a lease: the holder renews a note every few seconds, and whoever wants the
name waits to see whether the note changes. No two clocks are compared, and a dead holder is noticed
after `_SILENCE_S`.
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
    """Refusal because another process works on the same sweep or nights; try again later."""

    exit_code = 75


@contextlib.contextmanager
def lock(store: Store, name: str) -> Iterator[None]:
    """Lock `name` for the length of the block. Raises Busy when another process has the lock.

    `store` keeps the notes of who has which lock. On an object store, a holder that did not renew its
    lease for so long that another process took it over is interrupted, and raises Busy.
    """
    take = _file_lock if store.local is not None else _lease
    with take(_HolderNote(store, name)):
        yield


class _HolderNote:
    """A file that says which process has the lock, since when, and on which machine."""

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.name, self.file = store, name, f"{name}.json"
        self.mine = {
            "holder": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def write(self, renewals: int = 0) -> None:
        self.store.write(self.file, json.dumps({**self.mine, "renewals": renewals}).encode())

    def read(self) -> dict[str, Any]:
        """Return the note of whoever wrote last; empty without one that can be read."""
        note: dict[str, Any] | None = json_files.LOCK_NOTE.rebuildable(self.store, self.file)
        return note or {}

    @property
    def is_mine(self) -> bool:
        return bool(self.read().get("holder") == self.mine["holder"])

    @property
    def is_of_another(self) -> bool:
        return bool(self.read().get("holder", self.mine["holder"]) != self.mine["holder"])

    def delete(self) -> None:
        self.store.delete(self.file)

    def busy_error(self) -> Busy:
        note = self.read()
        pid, host, since = (note.get(key, "?") for key in ("pid", "host", "since"))
        return Busy(
            f"{self.name}: process {pid} on {host} has been at work on it since {since}; wait until "
            "it ends, or end it, and start again"
        )


@contextlib.contextmanager
def _file_lock(note: _HolderNote) -> Iterator[None]:
    folder = Path(note.store.root)
    folder.mkdir(parents=True, exist_ok=True)
    file_lock = FileLock(str(folder / f"{note.name}.lock"))
    try:
        with wrong_kind_as_storage_error(note.store, f"{note.name}.lock"):
            file_lock.acquire(timeout=0)
    except Timeout:
        raise note.busy_error() from None
    try:
        note.write()
        yield
    finally:
        # The lock's file stays: whoever deletes it may take it from under the next holder.
        file_lock.release()


@contextlib.contextmanager
def _lease(note: _HolderNote) -> Iterator[None]:
    _wait_for_silence(note)
    note.write()
    time.sleep(_RENEW_S / 5)  # of two that write at once, the later one stays
    if not note.is_mine:
        raise note.busy_error()
    done, lost = threading.Event(), threading.Event()
    renewer = threading.Thread(target=_renew, args=(note, done, lost), daemon=True)
    renewer.start()
    try:
        yield
    except KeyboardInterrupt:
        if lost.is_set():
            raise note.busy_error() from None
        raise
    finally:
        done.set()
        renewer.join()
        if not lost.is_set():
            with contextlib.suppress(OSError, StorageError):  # a note that stays is not renewed
                note.delete()


def _renew(note: _HolderNote, done: threading.Event, lost: threading.Event) -> None:
    """Renew the lease until `done`; interrupt the program when another process has taken it over."""
    for renewals in itertools.count(1):
        if done.wait(_RENEW_S):
            return
        with contextlib.suppress(OSError, StorageError):  # out of reach, for others too
            if note.is_of_another:
                lost.set()
                _thread.interrupt_main()
                return
            note.write(renewals)


def _wait_for_silence(note: _HolderNote) -> None:
    """Return when nobody renews the lease; raise Busy as soon as its note is seen to change."""
    before = note.read()
    deadline = time.monotonic() + _SILENCE_S
    while before and time.monotonic() < deadline:
        time.sleep(_RENEW_S / 5)
        now = note.read()
        if now and now != before:
            raise note.busy_error()
        before = now
