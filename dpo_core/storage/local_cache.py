"""Copies of remote files, shared by all processes of this machine; deleted when unused for a week."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from dpo_core.storage.partial import PARTIAL_PREFIX
from dpo_core.storage.private_tmp import private_tmp_folder

UNUSED_S = 7 * 24 * 3600.0


def local_copy(identity: str, name: str, fetch: Callable[[Path], None]) -> Path:
    """Return the path of a file's copy on this machine, and fetch it if there is none yet.

    Args:
        identity: Text that differs for every file and every version of it.
        name: How the name of the copy ends, for a reader of the folder.
        fetch: Writes the content of the file to the path it is called with.

    Returns:
        The path of the complete copy.

    Raises:
        SettingsError: The folder of copies belongs to another user.
    """
    folder = private_tmp_folder() / "copies"
    folder.mkdir(exist_ok=True)
    copy = folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}-{name}"
    with FileLock(f"{copy}.lock"):
        if not copy.exists():
            _drop_unused(folder)
            partial = folder / f"{PARTIAL_PREFIX}{copy.name}"  # over that of a killed process
            fetch(partial)
            partial.rename(copy)
        _mark_used(copy)
    return copy


def _drop_unused(folder: Path) -> None:
    """Delete copies that are unused, and files that a killed process left half-written.

    A process that has mapped a copy can still read it.
    """
    for path in folder.iterdir():
        try:
            if time.time() - path.stat().st_atime > UNUSED_S and path.suffix != ".lock":
                path.unlink()
        except OSError:  # another process was faster
            continue


def _mark_used(copy: Path) -> None:
    # File systems are often mounted so that reading leaves no trace.
    os.utime(copy, ns=(time.time_ns(), copy.stat().st_mtime_ns))
