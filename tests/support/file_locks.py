"""File systems whose file locks are missing, or count on one machine alone, imitated in a process."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from typing import Any

from sweeps.run_dir import lock, process_identity

Patch = Callable[[object, str, Any], None]
"""`setattr`, or pytest's, which takes the change back."""


def usual(patch: Patch) -> None:
    """Change nothing."""


def missing(patch: Patch) -> None:
    """Have no `flock`, as Lustre mounted without it."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    patch(fcntl, "flock", refuse)


def local_to_each_machine(patch: Patch) -> None:
    """Grant every `flock`, and make this process one of a machine of its own."""
    own = f"machine of process {os.getpid()}"
    patch(fcntl, "flock", lambda *_: None)
    patch(process_identity, "machine", lambda: own)
    patch(lock, "machine", lambda: own)


def granted_to_everybody(patch: Patch) -> None:
    """Grant every `flock`, as a FUSE file system that ignores them."""
    patch(fcntl, "flock", lambda *_: None)
