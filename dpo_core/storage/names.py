"""Names of files in a folder of ours: none leads out of it, by `..`, as an absolute path or by a link.

A run directory may come from somebody else. What its files name, and what its links point at, would be
read into a report or an export, or be overwritten, with the rights of whoever runs a command on it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

from dpo_core.errors import StorageError

_GO_ON = "and `dpo-sweeps resume` goes on"


def stays_inside(name: object) -> bool:
    """Return whether something that was read is the name of a file within a folder."""
    if not isinstance(name, str) or not name or "\0" in name:
        return False
    return not name.startswith("/") and ".." not in PurePosixPath(name).parts


def refuse_links(folder: str, name: str) -> None:
    """Check a name part by part, as far as it exists.

    Args:
        folder: A local folder, which may be reached through links: its owner has put them there.
        name: A name in it; it stays inside.

    Raises:
        StorageError: A part is a link, or neither a file nor a folder.
    """
    path = folder
    for part in PurePosixPath(name).parts:
        path = f"{path}/{part}"
        try:
            mode = os.lstat(path).st_mode
        except OSError:  # nothing is there, or whoever opens it is told why it cannot be read
            return
        _refuse_mode(path, mode)


def refuse_links_below(folder: Path) -> None:
    """Raise StorageError where anything in a local folder is a link, or neither file nor folder."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = f"{parent}/{name}"
            _refuse_mode(path, os.lstat(path).st_mode)


def _refuse_mode(path: str, mode: int) -> None:
    if stat.S_ISLNK(mode):
        raise StorageError(
            f"{path}: is a link, and none is followed in a run directory; put what belongs there in "
            f"its place, or delete it, {_GO_ON}"
        )
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise StorageError(f"{path}: is neither a file nor a folder; delete it, {_GO_ON}")
