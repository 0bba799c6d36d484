"""Files and folders that are still being written, beside those that they become.

Each is locked while it is written. One without a lock was left by a process that was killed, and the
next start removes it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from dpo_core.storage.usage_lock import HOST_TAG, lock_in_use, remove_unused

PARTIAL_PREFIX = ".writing-"
"""Begins the names of files and folders that are still being written."""
_OTHERS_AFTER_S = 24 * 3600.0
"""How long those of another machine, whose locks may not reach this one, must be unchanged."""


def partial_name() -> str:
    """Return a new name for what is still being written."""
    return f"{PARTIAL_PREFIX}{HOST_TAG}-{uuid.uuid4().hex}"


@contextlib.contextmanager
def partial_file(folder: Path) -> Iterator[BinaryIO]:
    """Yield a new file in `folder`, which the block renames; it is deleted when the block fails."""
    while True:
        with open(folder / partial_name(), "x+b") as file:
            lock = lock_in_use(Path(file.name))
            if lock is None:
                continue  # somebody took it for left behind, before it was locked
            try:
                yield file
            except BaseException:
                Path(file.name).unlink(missing_ok=True)  # a full disk needs the room
                raise
            finally:
                os.close(lock)
            return


@contextlib.contextmanager
def partial_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder in `folder`, which is deleted with what is left in it after the block."""
    lock = None
    while lock is None:
        partial = folder / partial_name()
        partial.mkdir(mode=0o700)
        lock = lock_in_use(partial)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        os.close(lock)


def find_partial(folder: Path, skipped: Collection[str] = ()) -> list[Path]:
    """Return what is being written below a folder, or was left; no link is followed.

    Args:
        folder: The folder; it may be absent.
        skipped: Names of its sub-folders that are left out.

    Returns:
        Paths of files and folders.
    """
    partial = []
    for parent, folders, files in os.walk(folder):
        names = [name for name in (*folders, *files) if name.startswith(PARTIAL_PREFIX)]
        partial += [Path(parent, name) for name in names]
        left_out = {*names, *(skipped if Path(parent) == folder else ())}
        folders[:] = [name for name in folders if name not in left_out]
    return partial


def remove_partial(path: Path) -> bool:
    """Remove what a killed process was writing; return whether it was removed.

    What a process of this machine still writes has a lock. What another machine writes is taken for
    left after a day without a change.
    """
    return remove_unused(
        path,
        is_lock_trusted=path.name.startswith(f"{PARTIAL_PREFIX}{HOST_TAG}-"),
        otherwise_after_s=_OTHERS_AFTER_S,
    )
