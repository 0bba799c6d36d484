"""A lock for sweeps and nights: one process at a time works on a name; a second one is refused.

On every kind of storage the holder renews a note every few seconds, and whoever wants the name waits to
see whether the note changes. No two clocks are compared, and a dead holder is noticed after
`_SILENCE_S`. In a folder there is a file lock beside the note. The kernel frees it as soon as its holder
dies, so on the holder's machine nobody waits. The note counts all the same: some file systems have no
file locks, and others have them for each machine alone.
"""

from __future__ import annotations

import _thread
import contextlib
import itertools
import os
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from filelock import FileLock, Timeout

from dpo_core.errors import StorageError
from dpo_core.storage.exclusive import UNSUPPORTED
from dpo_core.storage.retry import wrong_kind_as_storage_error
from dpo_core.storage.store import Store
from sweeps.run_dir.lease_note import Busy, LeaseNote
from sweeps.run_dir.process_identity import is_gone, is_running, machine

__all__ = ["Busy", "check_locks", "is_locked", "lock"]

_RENEW_S, _SILENCE_S = 5.0, 20.0

_held: dict[str, LeaseNote] = {}
"""The locks of this process, by their holder's id."""


@contextlib.contextmanager
def lock(store: Store, name: str, subject: str | None = None) -> Iterator[None]:
    """Lock `name` for the length of the block.

    A holder that did not renew its note for so long that another process took the lock over is
    interrupted, and raises Busy.

    Args:
        store: Keeps the notes of who has which lock.
        name: Of the lock, and so of its files.
        subject: What is locked, in the words of messages; by default the name.

    Returns:
        A context manager, which holds the lock for its block.

    Raises:
        Busy: Another process has the lock.
    """
    note = LeaseNote(store, name, subject)
    with _file_lock(note) as has_file_lock:
        _wait_and_take(note, has_file_lock=has_file_lock)
        with _renewed(note):
            yield


def is_locked(store: Store, name: str) -> bool:
    """Return whether another process may have the lock `name`, at a look.

    A holder on another machine counts as alive, since only waiting would tell.
    """
    note = LeaseNote(store, name)
    latest = note.latest()
    if not latest or latest.get("released") or is_gone(latest):
        return False
    try:
        with _file_lock(note) as has_file_lock:
            return not _is_free(latest, has_file_lock=has_file_lock)
    except Busy:
        return True


def check_locks() -> None:
    """Raise Busy if another process has taken over a lock of this one.

    Called before what must not be written twice: the thread that renews the notes looks only every few
    seconds, and a machine that slept goes on right here.
    """
    for note in list(_held.values()):
        if note.is_lost:
            raise note.busy_error()


@contextlib.contextmanager
def _file_lock(note: LeaseNote) -> Iterator[bool]:
    """Hold the file lock beside the note, and say whether there is one. Raises Busy."""
    file = note.store.local_path(f"{note.name}.lock")
    if file is None:
        yield False
        return
    with wrong_kind_as_storage_error(note.store, f"{note.name}.lock"):
        file.parent.mkdir(parents=True, exist_ok=True)
    # Not the library's own way out, a file that exists: it is left behind by a kill.
    file_lock = FileLock(str(file), fallback_to_soft=False)
    try:
        with wrong_kind_as_storage_error(note.store, f"{note.name}.lock"):
            file_lock.acquire(timeout=0)
    except Timeout:
        raise note.busy_error() from None
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        yield False
        return
    try:
        yield True
    finally:
        # The lock's file stays: whoever deletes it may take it from under the next holder.
        file_lock.release()


def _wait_and_take(note: LeaseNote, *, has_file_lock: bool) -> None:
    before = note.latest()
    if not _is_free(before, has_file_lock=has_file_lock):
        before = _wait_for_silence(note, before)
    note.take(before)
    if note.store.local is None:
        time.sleep(_RENEW_S / 5)  # of two that write at once, the later one stays
        if not note.is_mine:
            raise note.busy_error()


def _is_free(note: Mapping[str, Any], *, has_file_lock: bool) -> bool:
    """Return whether nobody can have the lock, by the latest note alone."""
    if not note or note.get("released") or is_gone(note):
        return True
    if not has_file_lock:
        return False
    if "fence" not in note:
        return True  # of an earlier version, which had the file lock alone
    # The kernel has freed the file lock of a holder on this machine. One that runs on has it not,
    # where the file system grants every file lock.
    is_other_process = note.get("holder") in _held or note.get("pid") != os.getpid()
    return note.get("machine") == machine() and not (is_running(note) and is_other_process)


def _wait_for_silence(note: LeaseNote, before: dict[str, Any]) -> dict[str, Any]:
    """Return the note that nobody renews; raise Busy as soon as it is seen to change."""
    deadline = time.monotonic() + _SILENCE_S
    while time.monotonic() < deadline:
        time.sleep(_RENEW_S / 5)
        now = note.latest()
        if not now or now.get("released"):
            return now
        if now != before:
            raise note.busy_error()
    return before


@contextlib.contextmanager
def _renewed(note: LeaseNote) -> Iterator[None]:
    """Renew the note for the length of the block, then mark it as released."""
    done, lost = threading.Event(), threading.Event()
    renewer = threading.Thread(target=_renew, args=(note, done, lost), daemon=True)
    _held[note.holder] = note
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
        del _held[note.holder]
        with contextlib.suppress(OSError, StorageError):  # a note that stays is not renewed
            if not note.is_lost:
                note.write(released=True)


def _renew(note: LeaseNote, done: threading.Event, lost: threading.Event) -> None:
    """Renew the note until `done`; interrupt the program when another process has taken the lock."""
    for renewals in itertools.count(1):
        if done.wait(_RENEW_S):
            return
        with contextlib.suppress(OSError, StorageError):  # out of reach, for others too
            if note.is_lost:
                lost.set()
                _thread.interrupt_main()
                return
            note.write(renewals)
