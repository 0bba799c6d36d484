"""Exclusive creation: of several processes that create one file, exactly one succeeds."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from dpo_core.errors import StorageError

# What a file system says of an operation that it does not have.
UNSUPPORTED = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL})


def create_exclusively(path: Path, content: bytes) -> bool:
    """Create a file, unless it exists.

    Args:
        path: The file; its folder exists.
        content: What the file gets after it was created, so a reader may see it empty.

    Returns:
        Whether this call created it.

    Raises:
        StorageError: The file system creates no file exclusively.
    """
    try:
        _create(path, content)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in UNSUPPORTED:
            raise _refusal(path, str(error)) from None
        raise
    with contextlib.suppress(FileExistsError):
        _create(path, content)
        raise _refusal(path, "it created one file twice")
    return True


def _create(path: Path, content: bytes) -> None:
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        os.write(file, content)
        os.fsync(file)
    except OSError:  # a full disk: what stays would look like a process that is about to go on
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)


def _refusal(path: Path, reason: str) -> StorageError:
    return StorageError(
        f"{path.parent}: exclusive creation of a file was tried and fails there ({reason}), so two "
        "processes could work on one sweep at once; give a storage with exclusive creation: a local "
        "disk, NFS from version 3 on, Lustre, or a bucket"
    )
