"""A watch over the head of the Ray cluster that this process is connected to.

Ray ends a driver whose head has not answered for a minute, without an exception that anybody could
catch. This watch looks first, and ends the sweep in words of ours, so that it can be resumed.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator

from dpo_core.errors import UserError
from sweeps.ray_runtime.listeners import host_and_port, why_silent

# A head with fault tolerance may come back within a minute, after which Ray ends the process.
_LOOK_EVERY_S, _SILENCE_S, _ENDING_S = 2.0, 40.0, 12.0
_THREAD = "watch over Ray's head"


class HeadLost(UserError):
    """The end of a sweep whose Ray head does not answer any more."""


@contextlib.contextmanager
def watched_head(address: str) -> Iterator[None]:
    """Watch the head for the length of the block.

    Args:
        address: Host and port of the head, as Ray names it.

    Raises:
        HeadLost: The head stopped answering, whatever error the block ended with.
    """
    watch = _Watch(address)
    threading.Thread(target=watch.run, name=_THREAD, daemon=True).start()
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:
        watch.end()
        if isinstance(error, UserError):
            raise
        if not watch.lost.is_set() and not _is_gone_for_good(address, error):
            raise
        watch.lost.set()
        raise HeadLost(_message(address)) from None
    finally:
        watch.end()


class _Watch:
    """Interrupts the program once the head has been silent; ends it when that does not help."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.done, self.lost = threading.Event(), threading.Event()
        self.deciding = threading.Lock()

    def end(self) -> None:
        """End the watch; from now on it interrupts nobody."""
        with self.deciding:
            self.done.set()

    def run(self) -> None:
        answered = time.monotonic()
        while not self.done.wait(_LOOK_EVERY_S):
            if _answers(self.address):
                answered = time.monotonic()
            elif time.monotonic() - answered > _SILENCE_S:
                self._interrupt()
                break
        if not self.lost.wait(_SILENCE_S / 4):  # the error of Ray is still being looked into
            return
        if not self.done.wait(_ENDING_S / 2):  # the main thread waits inside Ray, without end
            print(f"error: {_message(self.address)}", file=sys.stderr, flush=True)
            _end_program()
            return
        time.sleep(_ENDING_S / 2)  # Ray waits for its head also while the interpreter ends
        _end_program()

    def _interrupt(self) -> None:
        with self.deciding:
            if not self.done.is_set():
                self.lost.set()
                _thread.interrupt_main()


def _is_gone_for_good(address: str, error: BaseException) -> bool:
    """Return whether an error of Ray has come because the head has gone."""
    if isinstance(error, KeyboardInterrupt) or not _is_of_ray(error):
        return False
    deadline = time.monotonic() + _SILENCE_S / 8
    while time.monotonic() < deadline:
        if _answers(address):
            return False
        time.sleep(_LOOK_EVERY_S / 4)
    return True


def _is_of_ray(error: BaseException) -> bool:
    return any(each.__module__.partition(".")[0] == "ray" for each in type(error).__mro__) or (
        isinstance(error, OSError | RuntimeError)
    )


def _answers(address: str) -> bool:
    host, port = host_and_port(address)
    return port is not None and why_silent(host, port) is None


def _end_program() -> None:
    os._exit(HeadLost.exit_code)


def _message(address: str) -> str:
    return (
        f"Ray's head at {address} does not answer any more: it was stopped, or its machine is gone; "
        "start Ray again, and `dpo-sweeps resume FOLDER` goes on, with every trial that has ended"
    )
