"""The mailbox between trials and lanes, with a worker that is a plain thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sweeps.config.schema import ResourceSettings
from sweeps.ray_runtime import lanes as module
from sweeps.ray_runtime.lanes import CANCELLED, DIED, FINISHED, Lanes

Work = Callable[["ThreadLanes", int, dict[str, Any]], None]


class ThreadLanes(Lanes):
    """Runs `work` for each job where a worker group would."""

    def __init__(self, limit: int, work: Work, most_trials: int | None = None) -> None:
        super().__init__(lambda _: None, limit, "sweep", "nowhere", ResourceSettings())
        self.work, self.most_trials, self.opened = work, most_trials, 0

    def _fit(self, lane: int) -> None:
        self.opened += 1
        served = 0
        while served != self.most_trials:
            taken = self.take(lane)
            if taken is None:
                return
            if taken:
                served += 1
                self.work(self, taken["ticket"], taken["job"])


@pytest.fixture
def opened() -> Iterator[Callable[..., ThreadLanes]]:
    made: list[ThreadLanes] = []

    def build(*arguments: Any, **options: Any) -> ThreadLanes:
        made.append(ThreadLanes(*arguments, **options))
        return made[-1]

    yield build
    for lanes in made:
        lanes.close()


def finish(lanes: ThreadLanes, ticket: int, job: dict[str, Any]) -> None:
    lanes.tell(ticket, {"saw": job["trial"]})
    lanes.end(ticket, FINISHED)


def follow(
    lanes: Lanes, ticket: int, seconds: float = 10
) -> tuple[list[dict[str, Any]], str | None]:
    seen: list[dict[str, Any]] = []
    outcome = None
    deadline = time.monotonic() + seconds
    while outcome is None and time.monotonic() < deadline:
        events, outcome, _ = lanes.read(ticket, len(seen))
        seen += events
    return seen, outcome


def test_one_lane_serves_trials_in_order(opened: Callable[..., ThreadLanes]) -> None:
    lanes = opened(1, finish)
    for number in range(5):
        ticket = lanes.submit({"trial": number})
        assert follow(lanes, ticket) == ([{"saw": number}], FINISHED)
    assert lanes.opened == 1


def test_there_are_never_more_lanes_than_allowed(opened: Callable[..., ThreadLanes]) -> None:
    gate = threading.Event()

    def wait(lanes: ThreadLanes, ticket: int, job: dict[str, Any]) -> None:
        gate.wait(10)
        lanes.end(ticket, FINISHED)

    lanes = opened(2, wait)
    tickets = [lanes.submit({"trial": n}) for n in range(5)]
    time.sleep(0.3)
    assert lanes.opened == 2
    gate.set()
    assert {follow(lanes, t)[1] for t in tickets} == {FINISHED}
    assert lanes.opened == 2


def test_a_dead_lane_ends_its_job_and_is_replaced(opened: Callable[..., ThreadLanes]) -> None:
    def die_once(lanes: ThreadLanes, ticket: int, job: dict[str, Any]) -> None:
        if job["trial"] == "doomed":
            raise RuntimeError("killed")
        finish(lanes, ticket, job)

    lanes = opened(1, die_once)
    assert follow(lanes, lanes.submit({"trial": "doomed"}))[1] == DIED
    assert follow(lanes, lanes.submit({"trial": "next"}))[1] == FINISHED
    assert lanes.opened == 2


def test_a_lane_that_ray_started_again_goes_on_with_its_job(
    opened: Callable[..., ThreadLanes],
) -> None:
    """Ray Train does so by itself when a node is about to be taken away."""
    saw: list[int] = []

    def started_again_once(lanes: ThreadLanes, ticket: int, job: dict[str, Any]) -> None:
        saw.append(job["trial"])
        if len(saw) != 1:
            finish(lanes, ticket, job)

    lanes = opened(1, started_again_once)
    first, second = (lanes.submit({"trial": n}) for n in range(2))
    assert follow(lanes, first) == ([{"saw": 0}], FINISHED)
    assert follow(lanes, second) == ([{"saw": 1}], FINISHED)
    assert (saw, lanes.opened) == ([0, 0, 1], 1)


def test_a_job_that_waited_behind_a_dead_lane_is_served(
    opened: Callable[..., ThreadLanes],
) -> None:
    def die_once(lanes: ThreadLanes, ticket: int, job: dict[str, Any]) -> None:
        if job["trial"] == 0:
            time.sleep(0.2)
            raise RuntimeError("killed")
        finish(lanes, ticket, job)

    lanes = opened(1, die_once)
    first, second = (lanes.submit({"trial": n}) for n in range(2))
    assert follow(lanes, second)[1] == FINISHED
    assert follow(lanes, first)[1] == DIED


def test_a_lane_that_cannot_start_ends_the_job_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cannot_start(lanes: Lanes, lane: int) -> None:
        raise ImportError("no module named trl")

    monkeypatch.setattr(Lanes, "_fit", cannot_start)
    lanes = Lanes(lambda _: None, 1, "sweep", "nowhere", ResourceSettings())
    ticket = lanes.submit({"trial": 0})
    assert follow(lanes, ticket)[1] == DIED
    assert lanes.read(ticket, 0)[2] == "ImportError: no module named trl"
    lanes.close()


def test_a_lane_is_recycled_after_its_trials(opened: Callable[..., ThreadLanes]) -> None:
    lanes = opened(1, finish, most_trials=2)
    for number in range(5):
        assert follow(lanes, lanes.submit({"trial": number}))[1] == FINISHED
    assert lanes.opened == 3  # 2 + 2 + 1 trials


def train_until_told(lanes: ThreadLanes, ticket: int, job: dict[str, Any]) -> None:
    while lanes.tell(ticket):
        time.sleep(0.02)
    lanes.end(ticket, CANCELLED)


def test_a_job_that_nobody_reads_gives_way_to_one_that_waits(
    opened: Callable[..., ThreadLanes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEASE_WHEN_WAITED_FOR_S", 0.3)
    lanes = opened(1, train_until_told)
    stopped = lanes.submit({"trial": "stopped by the scheduler"})
    time.sleep(0.6)
    assert lanes.tickets[stopped].outcome is None, "nothing waits: a slow driver is not a dead one"
    lanes.submit({"trial": "next"})
    time.sleep(0.3)
    assert lanes.tickets[stopped].outcome == CANCELLED


def test_a_job_that_nobody_reads_ends_in_the_long_run(
    opened: Callable[..., ThreadLanes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEASE_S", 0.3)
    lanes = opened(1, train_until_told)
    stopped = lanes.submit({"trial": 0})
    time.sleep(0.6)
    assert lanes.tickets[stopped].outcome == CANCELLED


def test_closing_ends_a_running_job(opened: Callable[..., ThreadLanes]) -> None:
    lanes = opened(1, train_until_told)
    running = lanes.submit({"trial": 0})
    time.sleep(0.1)
    lanes.close()
    assert lanes.tickets[running].outcome == CANCELLED


def test_the_first_outcome_counts(opened: Callable[..., ThreadLanes]) -> None:
    lanes = opened(1, finish)
    ticket = lanes.submit({"trial": 0})
    follow(lanes, ticket)
    lanes.end(ticket, DIED)
    assert lanes.read(ticket, 0)[1] == FINISHED


def test_closing_lets_every_lane_leave(opened: Callable[..., ThreadLanes]) -> None:
    lanes = opened(2, finish)
    follow(lanes, lanes.submit({"trial": 0}))
    lanes.close()
    deadline = time.monotonic() + 5
    while lanes.alive and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not lanes.alive
