"""Worker groups that stay up between trials ("lanes").

A lane is one `TorchTrainer` whose workers take trials one after the other. Imports, CUDA context,
process group, base weights, pairs and reference stay; adapter, optimizer and seeds are each trial's
own. `Lanes` is the mailbox in the middle: a trial's driver (a thin Tune trainable) hands in a job
and reads what happens to it, a lane's first worker takes the job and writes what happens.

A lane that dies ends the job it had as "died" and is replaced when the next job comes; a lane that
has served enough trials leaves and is replaced too. A driver that stops reading (Tune ended its
trial) has its job cancelled at the next step.
"""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from sweeps.config.schema import ResourceSettings
from sweeps.ray_runtime.failures import cause_of, reason_of
from sweeps.ray_runtime.resources import driver_resources
from sweeps.ray_runtime.worker_group import Loop, fit_group

FINISHED, FAILED, CANCELLED, DIED = "finished", "failed", "cancelled", "died"
_POLL_S = 1.0
# A driver reads every second, unless Tune holds it up. One that has not read for so long is gone:
# at once believed when another trial waits for the lane, later when none does.
_LEASE_WHEN_WAITED_FOR_S, _LEASE_S = 5.0, 60.0


@dataclass
class _Ticket:
    """One job and all that has happened to it."""

    number: int
    job: dict[str, Any]
    lane: int | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    outcome: str | None = None
    detail: str = ""
    read_at: float = field(default_factory=time.monotonic)


class Lanes:
    """An actor: at most `limit` lanes, each on its own thread of this process."""

    def __init__(
        self, loop: Loop, limit: int, sweep_id: str, storage: str, resources: ResourceSettings
    ) -> None:
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
        self.handle: Any = None

    def start(self, handle: Any) -> None:
        """`handle` is this actor's own, for the workers to call back."""
        self.handle = handle

    def submit(self, job: dict[str, Any]) -> int:
        """Queue a job; returns its ticket. Starts a lane when there are fewer than allowed."""
        with self.changed:
            ticket = _Ticket(next(self.numbers), job)
            self.tickets[ticket.number] = ticket
            self.waiting.append(ticket)
            self._open_lanes()
            self.changed.notify_all()
            return ticket.number

    def read(self, number: int, after: int) -> tuple[list[dict[str, Any]], str | None, str]:
        """Events from number `after` on, the outcome if there is one, and its detail.

        Waits up to a second for something new. Reading is what keeps a job wanted.
        """
        ticket = self.tickets[number]
        with self.changed:
            ticket.read_at = time.monotonic()
            self.changed.wait_for(lambda: len(ticket.events) > after or ticket.outcome, _POLL_S)
            return ticket.events[after:], ticket.outcome, ticket.detail

    def take(self, lane: int) -> dict[str, Any] | None:
        """For a lane's first worker: the next {ticket, job}; {} when there is none; None: leave.

        A lane that asks while it has a job was started again by Ray Train, since its node was to be
        taken away: it goes on with that job.
        """
        with self.changed:
            had = [t for t in self.tickets.values() if t.lane == lane and t.outcome is None]
            self.changed.wait_for(lambda: had or self.waiting or self.closed, _POLL_S)
            if self.closed:
                self.left.add(lane)
                self.changed.notify_all()
                return None
            if had:
                return {"ticket": had[0].number, "job": had[0].job}
            self.waiting = [ticket for ticket in self.waiting if self._wanted(ticket)]
            if not self.waiting:
                return {}
            ticket = self.waiting.pop(0)
            ticket.lane = lane
            return {"ticket": ticket.number, "job": ticket.job}

    def tell(self, number: int, event: dict[str, Any] | None = None) -> bool:
        """For a lane's first worker: something happened, or still at it. False: nobody wants it."""
        with self.changed:
            ticket = self.tickets[number]
            if event is not None:
                ticket.events.append(event)
                self.changed.notify_all()
            return ticket.outcome is None and self._wanted(ticket)

    def end(self, number: int, outcome: str, detail: str = "") -> None:
        """A job is over; the first word counts."""
        with self.changed:
            ticket = self.tickets[number]
            if ticket.outcome is None:
                ticket.outcome, ticket.detail = outcome, detail
            self.changed.notify_all()

    def close(self, seconds: float = 10.0) -> None:
        """Tell every lane to leave, and wait until each has heard it."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.alive <= self.left, seconds)

    def _wanted(self, ticket: _Ticket) -> bool:
        """Whether somebody still reads; a job that waited unread is ended here."""
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
        detail = ""
        try:
            self._fit(lane)
        except Exception as error:
            detail = reason_of(cause_of(error))[1]
        with self.changed:
            self.alive.discard(lane)
            had = [t for t in self.tickets.values() if t.lane == lane]
            if detail and not had:
                # It died before its first job: so would the next one. The job that waits must know.
                had, self.waiting = self.waiting[:1], self.waiting[1:]
            for ticket in had:
                if ticket.outcome is None:
                    ticket.outcome, ticket.detail = DIED, detail
            if self.waiting and not self.closed:
                self._open_lanes()
            self.changed.notify_all()

    def _fit(self, lane: int) -> None:
        config = {
            "lane": lane,
            "lanes": self.handle,
            "most_trials": self.resources.trials_per_lane,
        }
        fit_group(
            self.loop,
            config,
            name=f"{self.sweep_id}-lane{lane}",
            storage=self.storage,  # Ray Train's own files
            resources=self.resources,
        )


def open_lanes(
    loop: Loop, limit: int, sweep_id: str, storage: str, resources: ResourceSettings
) -> Any:
    """A running `Lanes` actor; it takes no CPU and ends with this driver."""
    import ray

    # Every lane's worker and every trial's driver may wait inside a call at the same time.
    options = {
        "num_cpus": 0,
        "max_concurrency": 4 * limit + 8,
        "resources": driver_resources(resources),
    }
    lanes = ray.remote(Lanes).options(**options).remote(loop, limit, sweep_id, storage, resources)
    ray.get(lanes.start.remote(lanes))
    return lanes
