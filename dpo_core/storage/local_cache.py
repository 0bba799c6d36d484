"""Copies of remote files on this machine: one for all its processes, dropped after a week unused."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from dpo_core.storage.private_tmp import private_tmp_folder

UNUSED_S = 7 * 24 * 3600.0
_ASIDE = ".writing-"


def local_copy(about: str, name: str, fetch: Callable[[Path], None]) -> Path:
    """The copy of what `about` names; `fetch` writes it to a path when there is none yet.

    Raises SettingsError when the folder of copies is somebody else's.
    """
    folder = private_tmp_folder() / "copies"
    folder.mkdir(exist_ok=True)
    copy = folder / f"{hashlib.sha256(about.encode()).hexdigest()[:32]}-{name}"
    with FileLock(f"{copy}.lock"):
        if not copy.exists():
            _drop_unused(folder)
            aside = folder / f"{_ASIDE}{uuid.uuid4().hex}"
            fetch(aside)
            aside.rename(copy)
        _mark_used(copy)
    return copy


def _drop_unused(folder: Path) -> None:
    """Also of processes that were killed while they wrote. Whoever has a copy mapped, keeps it."""
    for path in folder.iterdir():
        try:
            if time.time() - path.stat().st_atime > UNUSED_S and path.suffix != ".lock":
                path.unlink()
        except OSError:  # another process was faster
            continue


def _mark_used(copy: Path) -> None:
    # File systems are often mounted so that reading leaves no trace.
    os.utime(copy, ns=(time.time_ns(), copy.stat().st_mtime_ns))
