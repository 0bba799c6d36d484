"""Two loops of one process, by turns: each runs until it passes on, and its turns are timed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor


class Turns:
    """`alternate` starts the loops; a loop calls `pass_on(its number)` at the end of a step.

    Only one loop ever runs, so neither takes a core from the other, and both see the machine at
    the same time of day. The first turn of a loop holds all that it did before its first step.
    """

    def __init__(self, loops: int) -> None:
        self.seconds: list[list[float]] = [[] for _ in range(loops)]
        self._whose, self._ended = 0, [False] * loops
        self._since = time.perf_counter()
        self._changed = threading.Condition()

    def alternate(self, loops: Sequence[Callable[[], object]]) -> None:
        """Returns when every loop has; the first error of one is raised when all have ended."""
        with ThreadPoolExecutor(len(loops)) as pool:
            futures = [pool.submit(self._run, number, loop) for number, loop in enumerate(loops)]
        for future in futures:
            future.result()

    def pass_on(self, number: int) -> None:
        self.seconds[number].append(time.perf_counter() - self._since)
        self._next()
        self._wait_for(number)

    def _run(self, number: int, loop: Callable[[], object]) -> None:
        self._wait_for(number)
        try:
            loop()
        finally:
            self._ended[number] = True
            self._next()

    def _next(self) -> None:
        with self._changed:
            count = len(self._ended)
            order = [(self._whose + 1 + i) % count for i in range(count)]
            self._whose = next((i for i in order if not self._ended[i]), self._whose)
            self._changed.notify_all()

    def _wait_for(self, number: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._whose == number)
        self._since = time.perf_counter()
