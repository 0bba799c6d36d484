"""Loops in processes of their own, by turns: each runs until it passes on, and its turns are timed.

Only one loop ever runs, so neither takes a core from the other, and both see the machine at the
same time of day. Processes, not threads: GNU OpenMP puts its threads to sleep between operations
once a second pool of them exceeds the cores, which costs a step a third of its speed.
"""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

PassOn = Callable[[], None]
Loop = Callable[[PassOn], Any]


@dataclass
class Laps:
    """Seconds of each turn, the first with all that came before the first step; what it returned."""

    seconds: list[float] = field(default_factory=list)
    result: Any = None


def alternate(loops: Sequence[Loop]) -> list[Laps]:
    """Run picklable `loops`, each given `pass_on` to call at the end of a step, to their ends.

    Raises RuntimeError with the traceback of the first loop that fails; the others are ended.
    """
    context = multiprocessing.get_context("spawn")
    laps = [Laps() for _ in loops]
    sides = []
    try:
        for loop in loops:
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(loop, there), daemon=True)
            process.start()
            there.close()
            sides.append((here, process))
        open_sides = list(range(len(loops)))
        while open_sides:
            for number in list(open_sides):
                if not _turn(sides[number][0], laps[number]):
                    open_sides.remove(number)
    finally:
        for _, process in sides:
            process.terminate()
            process.join()
    return laps


def _turn(side: Connection, laps: Laps) -> bool:
    """One turn; False when the loop has returned."""
    side.send("go")
    try:
        kind, value = side.recv()
    except EOFError:
        raise RuntimeError("a loop's process died") from None
    if kind == "failed":
        raise RuntimeError(value)
    if kind == "returned":
        laps.result = value
        return False
    laps.seconds.append(value)
    return True


def _serve(loop: Loop, parent: Connection) -> None:
    since = 0.0

    def wait() -> None:
        nonlocal since
        parent.recv()
        since = time.perf_counter()

    def pass_on() -> None:
        parent.send(("passed", time.perf_counter() - since))
        wait()

    wait()
    try:
        result = loop(pass_on)
    except Exception:
        parent.send(("failed", traceback.format_exc()))
    else:
        parent.send(("returned", result))
