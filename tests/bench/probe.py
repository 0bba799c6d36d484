"""What is measured beside the clock: memory of Ray's workers, time inside methods, the machine."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

_EVERY_S = 0.5
_MEBIBYTE = 1024**2


def say(text: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


class PeakMemory:
    """The most resident memory, in MiB, that any one Ray worker had while the block ran."""

    def __init__(self) -> None:
        self.mebibytes, self.process = 0.0, ""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_EVERY_S):
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    self._look_at(process)

    def _look_at(self, process: psutil.Process) -> None:
        title = (process.cmdline() or [""])[0]
        # An idle worker holds what an earlier task left in it, perhaps one of the other side.
        if title.startswith("ray::") and not title.startswith("ray::IDLE"):
            used = process.memory_info().rss / _MEBIBYTE
            if used > self.mebibytes:
                self.mebibytes, self.process = used, title


@dataclass
class Stopwatch:
    """Seconds inside the watched methods; a call from inside another counts once."""

    seconds: float = 0.0
    calls: int = 0
    depth: int = 0

    def around(self, method: Any) -> Any:
        @functools.wraps(method)
        def timed(*args: Any, **kwargs: Any) -> Any:
            started, self.depth = time.perf_counter(), self.depth + 1
            try:
                return method(*args, **kwargs)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.seconds += time.perf_counter() - started
                    self.calls += 1

        return timed


@contextlib.contextmanager
def watched(owner: type, *methods: str) -> Iterator[Stopwatch]:
    """Time these methods of a class, its own or inherited, while the block runs."""
    stopwatch = Stopwatch()
    own = {name: owner.__dict__.get(name) for name in methods}
    for name in methods:
        setattr(owner, name, stopwatch.around(getattr(owner, name)))
    try:
        yield stopwatch
    finally:
        for name, method in own.items():
            if method is None:
                delattr(owner, name)
            else:
                setattr(owner, name, method)


def wait_for_free_cpus(seconds: float = 60.0) -> None:
    """Until the actors of the run before are gone: what follows must not pay for their end."""
    import ray

    def free() -> bool:
        return bool(ray.available_resources().get("CPU") == ray.cluster_resources().get("CPU"))

    deadline = time.monotonic() + seconds
    while not free():
        if time.monotonic() > deadline:
            raise RuntimeError(f"the CPUs of Ray were not free within {seconds:g} s")
        time.sleep(0.2)


def machine() -> dict[str, Any]:
    """Hardware, versions and command line, for the JSON."""
    from dpo_core.training.checkpoints import versions

    return {
        "command": " ".join(sys.argv),
        "when": datetime.now().astimezone().isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 1024**3, 1),
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
        "versions": versions(),
    }


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
