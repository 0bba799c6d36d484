"""The lane queue: worker groups that stay up between trials ("lanes"), and the jobs they do.

A lane is one `TorchTrainer` whose workers take trials one after the other. Imports, CUDA context,
process group, base weights, pairs and reference stay; adapter, optimizer and seeds are each trial's
own. The `Lanes` actor is the queue between them: a trial's driver (a thin Tune trainable) submits a
job and reads its events, rank 0 of a lane takes the job and reports its events.

A lane that dies ends its job as "died" and is replaced when the next job comes; a lane that has
served enough trials leaves and is replaced too. When a driver stops reading (Tune ended its trial),
its job is cancelled at the next step.
"""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sweeps.config.schema import ResourceSettings
from sweeps.ray_runtime.failures import first_worker_error, reason_and_detail
from sweeps.ray_runtime.lane_messages import (
    CANCELLED,
    DIED,
    LEAVE,
    WAIT,
    Assignment,
    JobEvent,
    JobOutcome,
    JobProgress,
    LaneConfig,
    LaneJob,
    NoJob,
)
from sweeps.ray_runtime.worker_group import Loop, fit_group

if TYPE_CHECKING:
    from ray.actor import ActorHandle

_POLL_S = 1.0
# A driver reads every second, unless Tune delays it. A driver that has not read for so long is taken
# for dead: soon when another trial waits for the lane, later when none does.
_LEASE_WHEN_WAITED_FOR_S, _LEASE_S = 5.0, 60.0


@dataclass
class _Ticket:
    """One job, its events and its outcome. `lane` is None while no lane has taken it."""

    number: int
    job: LaneJob
    lane: int | None = None
    events: list[JobEvent] = field(default_factory=list)
    outcome: JobOutcome | None = None
    detail: str = ""
    read_at: float = field(default_factory=time.monotonic)


class Lanes:
    """A Ray actor with at most `limit` lanes, each on its own thread of this process."""

    def __init__(
        self,
        loop: Loop[LaneConfig],
        limit: int,
        sweep_id: str,
        storage: str,
        resources: ResourceSettings,
    ) -> None:
        """Prepare an actor without lanes.

        Args:
            loop: What each worker of a lane runs.
            limit: The most lanes at a time.
            sweep_id: The sweep, which names the lanes in the dashboard.
            storage: The folder of Ray Train's own files.
            resources: Workers of a lane, and what each of them gets.
        """
        self.loop, self.limit, self.sweep_id, self.storage = loop, limit, sweep_id, storage
        self.resources = resources
        self.changed = threading.Condition()
        self.numbers = itertools.count()
        self.tickets: dict[int, _Ticket] = {}
        self.waiting: list[_Ticket] = []
        self.alive: set[int] = set()
        self.left: set[int] = set()  # told to leave; Ray takes some seconds more to end the run
        self.next_lane = 0
        self.closed = False
        self.handle: ActorHandle[Lanes] | None = None

    def __repr__(self) -> str:
        """Name this actor in the dashboard's list of actors."""
        return f"{self.sweep_id}-lanes"

    def start(self, handle: ActorHandle[Lanes]) -> None:
        """Keep this actor's own handle, which the workers call back."""
        self.handle = handle

    def submit(self, job: LaneJob) -> int:
        """Queue a job and return its ticket. Start a lane when there are fewer than allowed."""
        with self.changed:
            ticket = _Ticket(next(self.numbers), job)
            self.tickets[ticket.number] = ticket
            self.waiting.append(ticket)
            self._open_lanes()
            self.changed.notify_all()
            return ticket.number

    def read_events(self, number: int, after: int) -> JobProgress:
        """Return a job's events from event `after` on, and its outcome if there is one.

        Waits up to a second for news. A job stays wanted only as long as somebody reads.
        """
        ticket = self.tickets[number]
        with self.changed:
            ticket.read_at = time.monotonic()
            self.changed.wait_for(lambda: len(ticket.events) > after or ticket.outcome, _POLL_S)
            return JobProgress(ticket.events[after:], ticket.outcome, ticket.detail)

    def next_job(self, lane: int) -> Assignment | NoJob:
        """Give rank 0 of a lane its next job, waiting up to a second for one.

        A lane that asks while it has a job was started again by Ray Train, since its node was to be
        taken away: it goes on with that job.
        """
        with self.changed:
            unfinished = [t for t in self.tickets.values() if t.lane == lane and t.outcome is None]
            self.changed.wait_for(lambda: unfinished or self.waiting or self.closed, _POLL_S)
            if self.closed:
                self.left.add(lane)
                self.changed.notify_all()
                return LEAVE
            if unfinished:
                return Assignment(unfinished[0].number, unfinished[0].job)
            self.waiting = [ticket for ticket in self.waiting if self._wanted(ticket)]
            if not self.waiting:
                return WAIT
            ticket = self.waiting.pop(0)
            ticket.lane = lane
            return Assignment(ticket.number, ticket.job)

    def report_event(self, number: int, event: JobEvent) -> bool:
        """Add an event to a job; return whether the job is still wanted. For rank 0 of a lane."""
        with self.changed:
            self.tickets[number].events.append(event)
            self.changed.notify_all()
            return self.is_wanted(number)

    def is_wanted(self, number: int) -> bool:
        """Tell rank 0 of a lane whether to go on: somebody reads, and the job has not ended."""
        with self.changed:
            ticket = self.tickets[number]
            return ticket.outcome is None and self._wanted(ticket)

    def finish(self, number: int, outcome: JobOutcome, detail: str = "") -> None:
        """End a job. Only the first outcome counts.

        Args:
            number: The job's ticket.
            outcome: How it ended.
            detail: One line about a death.
        """
        with self.changed:
            ticket = self.tickets[number]
            if ticket.outcome is None:
                ticket.outcome, ticket.detail = outcome, detail
            self.changed.notify_all()

    def close(self, seconds: float = 10.0) -> None:
        """Tell every lane to leave, and wait until each has been told, `seconds` at most."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.alive <= self.left, seconds)

    def _wanted(self, ticket: _Ticket) -> bool:
        """Check whether somebody still reads; end a job here that waited unread."""
        lease = _LEASE_WHEN_WAITED_FOR_S if self.waiting else _LEASE_S
        wanted = not self.closed and time.monotonic() - ticket.read_at < lease
        if not wanted and ticket.lane is None:
            ticket.outcome = CANCELLED
        return wanted

    def _open_lanes(self) -> None:
        busy = {t.lane for t in self.tickets.values() if t.outcome is None}
        missing = len(self.waiting) - len(self.alive - busy)
        for _ in range(min(missing, self.limit - len(self.alive))):
            lane, self.next_lane = self.next_lane, self.next_lane + 1
            self.alive.add(lane)
            threading.Thread(target=self._run_lane, args=(lane,), daemon=True).start()

    def _run_lane(self, lane: int) -> None:
        """Run a lane until it leaves or dies, then end its job and replace it where one waits."""
        detail = ""
        try:
            self._fit(lane)
        except Exception as error:
            detail = reason_and_detail(first_worker_error(error))[1]
        with self.changed:
            self.alive.discard(lane)
            lost = [t for t in self.tickets.values() if t.lane == lane]
            if detail and not lost:
                # It died before its first job: so would the next lane. The waiting job ends with it.
                lost, self.waiting = self.waiting[:1], self.waiting[1:]
            for ticket in lost:
                if ticket.outcome is None:
                    ticket.outcome, ticket.detail = DIED, detail
            if self.waiting and not self.closed:
                self._open_lanes()
            self.changed.notify_all()

    def _fit(self, lane: int) -> None:
        assert self.handle is not None, "start() comes first"
        config: LaneConfig = {
            "lane": lane,
            "lanes": self.handle,
            "trials_per_lane": self.resources.trials_per_lane,
        }
        fit_group(
            self.loop,
            config,
            name=f"{self.sweep_id}-lane{lane}",
            storage=self.storage,
            resources=self.resources,
        )
