"""One night at a time, whatever dies: a lock on the storage itself, of plain files.

Object stores have neither locks nor "create if absent", so each contender has a file of its own and
they draw numbers as at a bakery (Lamport 1974): first say that you are drawing, then draw one above
all others, then wait for whoever has a smaller one. Nobody writes another's file, so no two writes
can race; it only takes that a file, once written, is seen by all, as S3, GCS and disks promise.

The holder rewrites its file every few seconds. No clocks are compared: a contender watches whether
the file changes. One that does not for `dead_after_s` is of a dead holder and is removed; a holder
that could not rewrite its own for most of that time takes itself for replaced and stops.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

from dpo_core.errors import UserError
from dpo_core.store import Store

BEAT_S, DEAD_AFTER_S = 10.0, 120.0
# A holder gives up before contenders may believe it dead.
_GIVE_UP_SHARE = 0.75


class LockHeld(UserError):
    """Somebody else holds the lock, or has taken it over."""


@dataclass(frozen=True)
class _Claim:
    """What a contender's file holds. `number` is None while it is being drawn."""

    who: str
    number: int | None = None
    beat: int = 0


_HALF_WRITTEN = _Claim("somebody")


class NightLock:
    """One contender. Use `held`."""

    def __init__(
        self,
        store: Store,
        folder: str,
        beat_s: float,
        dead_after_s: float,
        on_lost: Callable[[], None],
    ) -> None:
        self.store, self.folder = store, folder
        self.beat_s, self.dead_after_s, self.on_lost = beat_s, dead_after_s, on_lost
        self.name = uuid.uuid4().hex
        self.claim = _Claim(f"process {os.getpid()} on {socket.gethostname()}")
        self.lost = False
        self._write_lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def acquire(self, say: Callable[[str], None]) -> None:
        """Raises LockHeld as soon as a holder shows that it lives."""
        self._write(self.claim)
        self._thread.start()
        try:
            numbers = [self._number_of(name) for name in self._others()]
            self._write(replace(self.claim, number=1 + max(numbers, default=0)))
            for name in self._others():
                self._wait_for(name, say)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # then contenders will find it dead
            self.store.delete(self._file(self.name))

    def _wait_for(self, name: str, say: Callable[[str], None]) -> None:
        """Until that contender is gone, dead, or behind us. Raises LockHeld when it is alive."""
        before, changed_at, told = None, time.monotonic(), False
        while (seen := self._read(name)) is not None and self._is_ahead(name, seen):
            if before is not None and seen != before:
                if before.number is not None:
                    raise LockHeld(
                        f"another start holds the lock: {seen.who}, by {self.store.uri}/"
                        f"{self._file(name)}; start again when it has ended"
                    )
                changed_at = time.monotonic()
            quiet_s = time.monotonic() - changed_at
            if quiet_s > self.dead_after_s:
                say(f"{seen.who} held the lock and is dead; taking over")
                self.store.delete(self._file(name))
                return
            if quiet_s > 2 * self.beat_s and not told:
                say(f"{seen.who} holds the lock; waiting to see whether it is alive")
                told = True
            before = seen
            time.sleep(min(1.0, self.beat_s / 4))

    def _is_ahead(self, name: str, other: _Claim) -> bool:
        mine = self.claim.number
        assert mine is not None
        return other.number is None or (other.number, name) < (mine, self.name)

    def _beat(self) -> None:
        alive_at = _time_with_sleep()
        while not self._stop.wait(self.beat_s):
            if _time_with_sleep() - alive_at > _GIVE_UP_SHARE * self.dead_after_s:
                return self._lose()
            with contextlib.suppress(OSError):  # the storage may be away for a while
                if self.store.exists(self._file(self.name)):
                    self._write(replace(self.claim, beat=self.claim.beat + 1))
                    alive_at = _time_with_sleep()
                elif self.store.exists(self.folder):  # it is there, and our file was removed
                    return self._lose()
        return None

    def _lose(self) -> None:
        self.lost = True
        self.on_lost()

    def _write(self, claim: _Claim) -> None:
        with self._write_lock:
            # The thread's beat and the drawn number come from two threads; neither may undo the other.
            number = claim.number if claim.number is not None else self.claim.number
            self.claim = replace(claim, number=number, beat=max(claim.beat, self.claim.beat))
            self.store.write(self._file(self.name), json.dumps(asdict(self.claim)).encode())

    def _others(self) -> list[str]:
        names = [name.removesuffix(".json") for name in self.store.names(self.folder)]
        return [name for name in names if name != self.name]

    def _number_of(self, name: str) -> int:
        """0 when it has none. A file that is being written is read again: to draw a number without
        seeing that of a holder would be to enter beside it."""
        started = time.monotonic()
        while (seen := self._read(name)) == _HALF_WRITTEN:
            if time.monotonic() - started > self.dead_after_s:
                break
            time.sleep(self.beat_s / 20)
        return 0 if seen is None or seen.number is None else seen.number

    def _read(self, name: str) -> _Claim | None:
        """None when the file is gone."""
        try:
            return _Claim(**json.loads(self.store.read(self._file(name))))
        except FileNotFoundError:
            return None
        except ValueError:  # only where writes are not atomic
            return _HALF_WRITTEN

    def _file(self, name: str) -> str:
        return f"{self.folder}/{name}.json"


@contextlib.contextmanager
def held(
    store: Store,
    folder: str,
    say: Callable[[str], None],
    *,
    beat_s: float = BEAT_S,
    dead_after_s: float = DEAD_AFTER_S,
) -> Iterator[None]:
    """Hold the lock whose files are in `folder`. Raises LockHeld.

    Should it be lost inside the block (this machine slept, or the storage was away for too long),
    the block is interrupted as by Ctrl-C, and LockHeld comes out.
    """
    lock = NightLock(store, folder, beat_s, dead_after_s, _interrupt_main_thread)
    lock.acquire(say)
    try:
        yield
    except KeyboardInterrupt:
        if lock.lost:
            raise LockHeld(
                f"{store.uri}/{folder}: this start lost the lock, since it could not show for "
                f"{_GIVE_UP_SHARE * dead_after_s:g} s that it lives; another may run now"
            ) from None
        raise
    finally:
        lock.release()


def _interrupt_main_thread() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _time_with_sleep() -> float:
    """Seconds; counts those, too, that the machine sleeps, where the system can tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)
