"""The lane queue between trials and lanes, with a worker that is a plain thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sweeps.config.schema import ResourceSettings
from sweeps.ray_runtime import lanes as module
from sweeps.ray_runtime.lane_messages import (
    CANCELLED,
    DIED,
    FINISHED,
    LEAVE,
    WAIT,
    JobEvent,
    TrialJob,
)
from sweeps.ray_runtime.lanes import Lanes
from sweeps.run_dir.paths import SweepRef

Work = Callable[["ThreadLanes", int, TrialJob], None]


class ThreadLanes(Lanes):
    """Runs `work` for each job where a worker group would."""

    def __init__(self, limit: int, work: Work, trials_per_lane: int | None = None) -> None:
        super().__init__(lambda _: None, limit, "sweep", "nowhere", ResourceSettings())
        self.work, self.trials_per_lane, self.opened = work, trials_per_lane, 0

    def _fit(self, lane: int) -> None:
        self.opened += 1
        trials = 0
        while trials != self.trials_per_lane:
            assignment = self.next_job(lane)
            if assignment == LEAVE:
                return
            if assignment != WAIT:
                trials += 1
                self.work(self, assignment.ticket, assignment.job)


@pytest.fixture
def opened() -> Iterator[Callable[..., ThreadLanes]]:
    made: list[ThreadLanes] = []

    def build(*arguments: Any, **options: Any) -> ThreadLanes:
        made.append(ThreadLanes(*arguments, **options))
        return made[-1]

    yield build
    for lanes in made:
        lanes.close()


def trial(number: int) -> TrialJob:
    return TrialJob(SweepRef("nowhere", "sweep"), f"t{number:04d}", {}, 0)


def finish(lanes: ThreadLanes, ticket: int, job: TrialJob) -> None:
    lanes.report_event(ticket, {"saw": job.trial})
    lanes.finish(ticket, FINISHED)


def follow(lanes: Lanes, ticket: int, seconds: float = 10) -> tuple[list[JobEvent], str | None]:
    seen: list[JobEvent] = []
    outcome = None
    deadline = time.monotonic() + seconds
    while outcome is None and time.monotonic() < deadline:
        progress = lanes.read_events(ticket, len(seen))
        seen, outcome = seen + progress.events, progress.outcome
    return seen, outcome


def test_one_lane_serves_trials_in_order(opened: Callable[..., ThreadLanes]) -> None:
    lanes = opened(1, finish)
    for number in range(5):
        ticket = lanes.submit(trial(number))
        assert follow(lanes, ticket) == ([{"saw": f"t{number:04d}"}], FINISHED)
    assert lanes.opened == 1


def test_there_are_never_more_lanes_than_allowed(opened: Callable[..., ThreadLanes]) -> None:
    gate = threading.Event()

    def wait(lanes: ThreadLanes, ticket: int, job: TrialJob) -> None:
        gate.wait(10)
        lanes.finish(ticket, FINISHED)

    lanes = opened(2, wait)
    tickets = [lanes.submit(trial(n)) for n in range(5)]
    time.sleep(0.3)
    assert lanes.opened == 2
    gate.set()
    assert {follow(lanes, t)[1] for t in tickets} == {FINISHED}
    assert lanes.opened == 2


def test_a_dead_lane_ends_its_job_and_is_replaced(opened: Callable[..., ThreadLanes]) -> None:
    def die_once(lanes: ThreadLanes, ticket: int, job: TrialJob) -> None:
        if job.trial == "t0000":
            raise RuntimeError("killed")
        finish(lanes, ticket, job)

    lanes = opened(1, die_once)
    assert follow(lanes, lanes.submit(trial(0)))[1] == DIED
    assert follow(lanes, lanes.submit(trial(1)))[1] == FINISHED
    assert lanes.opened == 2


def test_a_lane_that_ray_started_again_goes_on_with_its_job(
    opened: Callable[..., ThreadLanes],
) -> None:
    """Ray Train does so by itself when a node is about to be taken away."""
    saw: list[str] = []

    def started_again_once(lanes: ThreadLanes, ticket: int, job: TrialJob) -> None:
        saw.append(job.trial)
        if len(saw) != 1:
            finish(lanes, ticket, job)

    lanes = opened(1, started_again_once)
    first, second = (lanes.submit(trial(n)) for n in range(2))
    assert follow(lanes, first) == ([{"saw": "t0000"}], FINISHED)
    assert follow(lanes, second) == ([{"saw": "t0001"}], FINISHED)
    assert (saw, lanes.opened) == (["t0000", "t0000", "t0001"], 1)


def test_a_job_that_waited_behind_a_dead_lane_is_served(
    opened: Callable[..., ThreadLanes],
) -> None:
    def die_once(lanes: ThreadLanes, ticket: int, job: TrialJob) -> None:
        if job.trial == "t0000":
            time.sleep(0.2)
            raise RuntimeError("killed")
        finish(lanes, ticket, job)

    lanes = opened(1, die_once)
    first, second = (lanes.submit(trial(n)) for n in range(2))
    assert follow(lanes, second)[1] == FINISHED
    assert follow(lanes, first)[1] == DIED


def test_a_lane_that_cannot_start_ends_the_job_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cannot_start(lanes: Lanes, lane: int) -> None:
        raise ImportError("no module named trl")

    monkeypatch.setattr(Lanes, "_fit", cannot_start)
    lanes = Lanes(lambda _: None, 1, "sweep", "nowhere", ResourceSettings())
    ticket = lanes.submit(trial(0))
    assert follow(lanes, ticket)[1] == DIED
    assert lanes.read_events(ticket, 0).detail == "ImportError: no module named trl"
    lanes.close()


def test_a_lane_is_recycled_after_its_trials(opened: Callable[..., ThreadLanes]) -> None:
    lanes = opened(1, finish, trials_per_lane=2)
    for number in range(5):
        assert follow(lanes, lanes.submit(trial(number)))[1] == FINISHED
    assert lanes.opened == 3  # 2 + 2 + 1 trials


def train_until_told(lanes: ThreadLanes, ticket: int, job: TrialJob) -> None:
    while lanes.is_wanted(ticket):
        time.sleep(0.02)
    lanes.finish(ticket, CANCELLED)


def test_a_job_that_nobody_reads_gives_way_to_one_that_waits(
    opened: Callable[..., ThreadLanes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEASE_WHEN_WAITED_FOR_S", 0.3)
    lanes = opened(1, train_until_told)
    stopped = lanes.submit(trial(0))
    time.sleep(0.6)
    assert lanes.tickets[stopped].outcome is None, "nothing waits: a slow driver is not a dead one"
    lanes.submit(trial(1))
    time.sleep(0.3)
    assert lanes.tickets[stopped].outcome == CANCELLED


def test_a_job_that_nobody_reads_ends_in_the_long_run(
    opened: Callable[..., ThreadLanes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEASE_S", 0.3)
    lanes = opened(1, train_until_told)
    stopped = lanes.submit(trial(0))
    time.sleep(0.6)
    assert lanes.tickets[stopped].outcome == CANCELLED


def test_closing_ends_a_running_job(opened: Callable[..., ThreadLanes]) -> None:
    lanes = opened(1, train_until_told)
    running = lanes.submit(trial(0))
    time.sleep(0.1)
    lanes.close()
    assert lanes.tickets[running].outcome == CANCELLED


def test_the_first_outcome_counts(opened: Callable[..., ThreadLanes]) -> None:
    lanes = opened(1, finish)
    ticket = lanes.submit(trial(0))
    follow(lanes, ticket)
    lanes.finish(ticket, DIED)
    assert lanes.read_events(ticket, 0).outcome == FINISHED


def test_closing_lets_every_lane_leave(opened: Callable[..., ThreadLanes]) -> None:
    lanes = opened(2, finish)
    follow(lanes, lanes.submit(trial(0)))
    lanes.close()
    deadline = time.monotonic() + 5
    while lanes.alive and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not lanes.alive
