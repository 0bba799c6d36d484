"""Locks by which files and folders show that a process still uses them.

The kernel frees such a lock when its process dies, however it dies. So what has no lock any more was
left behind, and may be removed. Only what belongs to this user is: no link is followed, and a folder
with anything of another user or of another disk in it stays.

File locks reach as far as the file system takes them: some have none, and some have them for each
machine alone. So names carry a tag of their machine, and the lock decides on that machine only.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import os
import shutil
import socket
import stat
import time
from pathlib import Path

HOST_TAG = (
    base64.b32encode(hashlib.sha256(socket.gethostname().encode()).digest())[:3].decode().lower()
)
"""Three characters that stand for this machine in the names of what its processes lock."""


def random_name(length: int) -> str:
    """Return so many random characters that every file system takes."""
    return base64.b32encode(os.urandom(length)).decode().lower()[:length]


def lock_in_use(path: Path) -> int | None:
    """Lock a file or folder as one that is in use, beside other processes that use it.

    Returns:
        A descriptor; the lock lasts until it is closed. None when `path` is gone or being removed.
    """
    descriptor = _open(path)
    if descriptor is None:
        return None
    if _try_lock(descriptor, fcntl.LOCK_SH) is not False and _is_at(path, descriptor):
        return descriptor
    os.close(descriptor)
    return None


def remove_unused(
    path: Path, *, is_lock_trusted: bool = True, otherwise_after_s: float | None = None
) -> bool:
    """Remove a file or folder of this user that no process has locked.

    Args:
        path: The file or folder.
        is_lock_trusted: Whether a lock that is free says that nobody uses `path`.
        otherwise_after_s: For how long nothing in `path` must have changed where the lock does not say
            so, or the file system has no locks; None: then nothing is removed.

    Returns:
        Whether it was removed.
    """
    descriptor = _open(path)
    if descriptor is None:
        return False
    try:
        is_free = _try_lock(descriptor, fcntl.LOCK_EX)
        if is_free is False or not _is_at(path, descriptor) or not _is_all_own(path):
            return False
        is_left = bool(is_free and is_lock_trusted)
        if not is_left and otherwise_after_s is not None:
            is_left = _is_unchanged(path, otherwise_after_s)
        return is_left and _remove(path)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, kind: int) -> bool | None:
    """Return whether a lock was free and is taken now; None where there are no file locks."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _open(path: Path) -> int | None:
    """Open a file or folder of this user, never through a link; None for anything else."""
    try:
        status = path.lstat()
        is_folder = stat.S_ISDIR(status.st_mode)
        if status.st_uid != os.geteuid() or not (is_folder or stat.S_ISREG(status.st_mode)):
            return None
        # NFS locks a file for one process alone only where it was opened for writing.
        access = os.O_RDONLY | os.O_DIRECTORY if is_folder else os.O_RDWR
        return os.open(path, access | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None


def _is_at(path: Path, descriptor: int) -> bool:
    """Return whether `path` still names what was opened: another process may have removed it."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except OSError:
        return False


def _statuses(path: Path) -> list[os.stat_result]:
    """Return the status of a file, or of a folder and all that is in it, links not followed."""
    statuses = [path.lstat()]
    for _, folders, files, descriptor in os.fwalk(path, follow_symlinks=False):
        for name in (*folders, *files):
            with contextlib.suppress(FileNotFoundError):
                statuses.append(os.stat(name, dir_fd=descriptor, follow_symlinks=False))
    return statuses


def _is_all_own(path: Path) -> bool:
    first, *rest = _statuses(path)
    owner = os.geteuid(), first.st_dev
    return all((each.st_uid, each.st_dev) == owner for each in (first, *rest))


def _is_unchanged(path: Path, seconds: float) -> bool:
    return time.time() - max(each.st_mtime for each in _statuses(path)) > seconds


def _remove(path: Path) -> bool:
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)  # follows no link
        else:
            path.unlink()
    return not os.path.lexists(path)
