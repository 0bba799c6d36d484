"""Progress of a sweep: how many of its trials have ended, the best so far, and the time left.

One line of the log says it, and `dpo-sweeps status` reads that line: whoever watches a job may reach its
log and nothing else.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sweeps.run_dir.ledger import FAILED, TrialRecord
from sweeps.selection.ordering import best_checkpoint
from sweeps.trials.events import TrialEvent

_LINE = re.compile(
    r"^(?P<when>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC .*"
    r"\((?P<ended>\d+) of (?P<trials>\d+) trials(?:, (?P<failed>\d+) failed)?"
    r"(?:; best (?P<best>[\d.]+))?(?:; about (?P<minutes>\d+) min left)?\)$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class SweepProgress:
    """Progress of a sweep at one time."""

    ended: int
    """Trials that have ended, failed ones among them."""
    trials: int
    """Trials of the search and of the confirmation."""
    failed: int = 0
    best: float | None = None
    """The best accuracy so far of a checkpoint that can win, 0 to 1; None before there is one."""
    seconds_left: float | None = None
    """How long the other trials will take, at the pace of those that have ended; None before one has."""

    def __str__(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        best = "" if self.best is None else f"; best {self.best:.3f}"
        return f"{self.ended} of {self.trials} trials{failed}{best}{self._time_left}"

    @property
    def _time_left(self) -> str:
        if not self.seconds_left:
            return ""
        return f"; about {math.ceil(self.seconds_left / 60)} min left"


def last_progress(log: str, now: datetime | None = None) -> SweepProgress | None:
    """Read the progress that the log of a job told last.

    Args:
        log: The log, each line with its UTC time.
        now: Until when the time left has gone on; by default now.

    Returns:
        The progress; None before a trial has ended.
    """
    lines = list(_LINE.finditer(log))
    if not lines:
        return None
    line = lines[-1]
    when = datetime.strptime(line["when"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    since = ((now or datetime.now(UTC)) - when).total_seconds()
    return SweepProgress(
        ended=int(line["ended"]),
        trials=int(line["trials"]),
        failed=int(line["failed"] or 0),
        best=float(line["best"]) if line["best"] else None,
        seconds_left=max(0.0, 60.0 * int(line["minutes"]) - since) if line["minutes"] else None,
    )


class ProgressCounter:
    """Counts on from the records of a ledger, event by event."""

    def __init__(
        self,
        records: Iterable[TrialRecord],
        objective: str,
        trials: int,
        concurrent: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Count what has ended.

        Args:
            records: The trials that have ended.
            objective: The accuracy that decides.
            trials: How many there will be.
            concurrent: How many run at the same time.
            clock: Returns seconds.
        """
        records = list(records)
        self._concurrent, self._clock = concurrent, clock
        self._seconds = [record.seconds for record in records if _counts(record)]
        self._started: dict[str, float] = {}
        best = best_checkpoint(records, objective)
        self._progress = SweepProgress(
            ended=len(records),
            trials=trials,
            failed=sum(record.status == FAILED for record in records),
            best=best.accuracy if best and best.can_win else None,
        )

    @property
    def running(self) -> int:
        """Return how many trials run."""
        return len(self._started)

    @property
    def now(self) -> SweepProgress:
        """Return the progress now."""
        return replace(self._progress, seconds_left=self._seconds_left())

    def count(self, event: TrialEvent) -> None:
        """Take in an event of a trial."""
        before = self._progress
        if event.kind == "started":
            self._started[event.trial] = self._clock()
        elif event.kind == "evaluated":
            if all(number <= 0 for number in event.metrics["violations"].values()):
                best = max(before.best or 0.0, event.metrics["accuracy"])
                self._progress = replace(before, best=best)
        else:
            self._started.pop(event.trial, None)
            failed = before.failed + (event.kind == FAILED)
            self._progress = replace(before, ended=before.ended + 1, failed=failed)
            if event.record is not None and _counts(event.record):
                self._seconds.append(event.record.seconds)

    def _seconds_left(self) -> float | None:
        missing = self._progress.trials - self._progress.ended
        if not self._seconds or missing <= 0:
            return None if missing > 0 else 0.0
        each = sum(self._seconds) / len(self._seconds)
        done = sum(min(each, self._clock() - start) for start in self._started.values())
        return (missing * each - done) / min(self._concurrent, missing)


def _counts(record: TrialRecord) -> bool:
    """Return whether a trial's seconds say how long others take."""
    return record.status != FAILED and record.seconds > 0
