"""The identity of a process across machines, containers and reused process numbers."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

_ZOMBIE = "Z"


class ProcessJson(TypedDict):
    """A process as a lease's note names it."""

    host: str
    pid: int
    machine: str
    """What only processes under the same running kernel share."""
    pid_namespace: str
    started: str
    """When the process started, in clock ticks since the kernel did; empty where nothing says it."""


def this_process() -> ProcessJson:
    """Return the identity of the calling process."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "machine": machine(),
        "pid_namespace": _pid_namespace(),
        "started": _started(os.getpid()) or "",
    }


def machine() -> str:
    """Return what identifies the running kernel: its boot id, where there is one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{socket.gethostname()} {uuid.getnode():x}"


def is_gone(process: Mapping[str, object]) -> bool:
    """Return whether a process has ended; False also where this process cannot know."""
    return _is_seen_from_here(process) and not is_running(process)


def is_running(process: Mapping[str, object]) -> bool:
    """Return whether a process runs; False also where this process cannot know."""
    pid = process.get("pid")
    if not isinstance(pid, int) or not _is_seen_from_here(process):
        return False
    return _started(pid) == process["started"]


def _is_seen_from_here(process: Mapping[str, object]) -> bool:
    return (
        bool(process.get("started"))
        and process.get("machine") == machine()
        and process.get("pid_namespace") == _pid_namespace()
    )


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Return when a process started; None for one that is no more, and where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == _ZOMBIE else fields[19]
