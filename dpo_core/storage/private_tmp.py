"""Folders for temporary files that only this user's processes can read and write.

<temporary folder>/dpo-sweeps-<user id>/     of one user of this machine
    abc2345/                                 of one run, which has it locked
    copies/                                  of remote files, for all runs

Every user of the machine can work out the name of the first, so another user might create it first
and change the files in it later. Such a folder is refused.

TMPDIR names the run's own folder while it runs, so that what libraries and child processes leave is
in it too. It is removed when the run ends. That of a run that was killed has lost its lock, and the
next start removes it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dpo_core.errors import SettingsError
from dpo_core.storage.usage_lock import HOST_TAG, lock_in_use, random_name, remove_unused

_VARIABLE = "TMPDIR"
_OF_A_RUN = re.compile(rf"{HOST_TAG}[a-z2-7]{{4}}")


def temporary_folder() -> Path:
    """Return the folder of temporary files that the command was started with, for all programs."""
    own = own_folder()
    return Path(tempfile.gettempdir()) if own is None else own.parent.parent


def own_folder() -> Path | None:
    """Return the folder of its own that this process has for temporary files; None without one."""
    folder = Path(tempfile.gettempdir())
    return folder if folder.parent.name == _users_name() else None


def private_tmp_folder(parent: Path | None = None) -> Path:
    """Return `<temporary folder>/dpo-sweeps-<user id>`, and create it if it is missing.

    `parent` is another folder than that of temporary files. Raises SettingsError when the path is a
    link or a folder of another user.
    """
    folder = (parent or temporary_folder()) / _users_name()
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise SettingsError(
            f"{folder}: is a link or belongs to another user, who could change what is read from it; "
            "set TMPDIR to a folder of your own"
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        folder.chmod(0o700)
    return folder


@contextlib.contextmanager
def locked_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder in a private one, locked for the length of the block and then removed.

    Those that killed runs left in `parent` are removed first.
    """
    remove_folders_of_killed_runs(parent)
    folder, lock = _make_locked(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextlib.contextmanager
def own_tmp_folder() -> Iterator[None]:
    """Keep all temporary files of this process, and of those that it starts, in a folder of its own.

    Where none can be made, because the disk is full or read-only, everything stays as it is: many
    commands need no temporary files, and the others say so themselves.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            folder = stack.enter_context(locked_folder(private_tmp_folder()))
            stack.enter_context(_as_temporary_folder(folder))
        yield


def use_own_tmp_folder() -> None:
    """Do what `own_tmp_folder` does until this process ends, as the worker of a run.

    A worker that a run has started shares the run's folder, which stays locked as long as either of
    them lives. Calling it again changes nothing.
    """
    present = own_folder()
    if present in _used:
        return
    with contextlib.suppress(OSError):
        if present is not None:
            lock = lock_in_use(present)
            if lock is not None:
                _used[present] = lock
                return
        parent = private_tmp_folder()
        remove_folders_of_killed_runs(parent)
        folder, _used[folder] = _make_locked(parent)
        os.environ[_VARIABLE] = tempfile.tempdir = str(folder)
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


_used: dict[Path, int] = {}
"""The folders that this process has locked until it ends, and their locks."""


def remove_folders_of_killed_runs(parent: Path) -> None:
    """Remove what runs of this machine left in a private folder, unless a process still uses it."""
    for path in parent.iterdir():
        if _OF_A_RUN.fullmatch(path.name):
            remove_unused(path)


def _make_locked(parent: Path) -> tuple[Path, int]:
    while True:
        folder = parent / f"{HOST_TAG}{random_name(4)}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            lock = lock_in_use(folder)
            if lock is not None:
                return folder, lock


@contextlib.contextmanager
def _as_temporary_folder(folder: Path) -> Iterator[None]:
    variable, default = os.environ.get(_VARIABLE), tempfile.tempdir
    os.environ[_VARIABLE] = tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = default
        if variable is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = variable


def _users_name() -> str:
    return f"dpo-sweeps-{os.getuid()}"
