"""The clients of the lane queue, with the queue's methods called in this process."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from dpo_core.errors import DataError
from sweeps.config.schema import ResourceSettings
from sweeps.ray_runtime.lane_client import Cancelled, LaneClient, LaneWorkerClient
from sweeps.ray_runtime.lane_messages import (
    DIED,
    FAILED,
    FINISHED,
    CallResult,
    FunctionCall,
    TrialJob,
)
from sweeps.ray_runtime.lanes import Lanes
from sweeps.run_dir.paths import SweepRef

JOB = TrialJob(SweepRef("file:///runs", "sweep"), "t0000", {"beta": 0.1}, 7)


class InProcess:
    """Stands where an actor's handle does: `.method.remote(...)` calls the method at once."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self.actor, name))


class OneWorkerLanes(Lanes):
    """Each lane is one thread that does what `work` does with its client."""

    def __init__(self, work: Any) -> None:
        super().__init__(lambda _: None, 1, "sweep", "nowhere", ResourceSettings())
        self.work = work

    def _fit(self, lane: int) -> None:
        client = LaneWorkerClient(InProcess(self), lane)
        while (job := client.next_job()) is not None:
            self.work(client, job)


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """No Ray: references are values, and the worker is alone in its group. What it reports to its
    own run."""
    import ray.train

    context = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 1)
    monkeypatch.setattr(ray, "get", lambda value: value)
    monkeypatch.setattr(ray.train, "get_context", lambda: context)
    metrics: list[Any] = []
    monkeypatch.setattr(ray.train, "report", metrics.append)
    return metrics


@pytest.fixture
def lanes(request: pytest.FixtureRequest, reported: list[Any]) -> Iterator[LaneClient]:
    client = LaneClient(InProcess(OneWorkerLanes(request.param)))
    yield client
    client.close()


def train(client: LaneWorkerClient, job: TrialJob) -> None:
    for step in (1, 2, 3):
        client.report({"trial": job.trial, "step": step, "paths": job.sweep.sweep_id})
    client.finish(FINISHED)


@pytest.mark.parametrize("lanes", [train], indirect=True)
def test_every_event_of_a_trial_arrives_once_and_in_order(
    lanes: LaneClient, reported: list[Any]
) -> None:
    for _ in range(2):
        events: list[Any] = []
        assert lanes.run(JOB, events.append).outcome == FINISHED
        assert [event["step"] for event in events] == [1, 2, 3]
        assert {(event["trial"], event["paths"]) for event in events} == {("t0000", "sweep")}
    assert reported == events * 2, "the lane's own run shows them too"


def fail(client: LaneWorkerClient, job: TrialJob) -> None:
    client.report({"step": 1})
    client.finish(FAILED)


@pytest.mark.parametrize("lanes", [fail], indirect=True)
def test_a_trial_that_fails_keeps_its_events(lanes: LaneClient) -> None:
    events: list[Any] = []
    assert lanes.run(JOB, events.append).outcome == FAILED
    assert events == [{"step": 1}]


def die(client: LaneWorkerClient, job: TrialJob | FunctionCall) -> None:
    raise RuntimeError("the worker was killed")


@pytest.mark.parametrize("lanes", [die], indirect=True)
def test_a_death_says_what_is_known_of_it(lanes: LaneClient) -> None:
    end = lanes.run(JOB, lambda _: None)
    assert (end.outcome, end.detail) == (DIED, "RuntimeError: the worker was killed")


def answer(client: LaneWorkerClient, job: FunctionCall) -> None:
    client.answer(job)


@pytest.mark.parametrize("lanes", [answer], indirect=True)
def test_a_call_returns_what_the_function_returns(lanes: LaneClient) -> None:
    assert lanes.call(divmod, 17, 5) == (3, 2)
    assert lanes.call(dict) == {}


def refuse(name: str) -> None:
    raise DataError(f"{name}: is empty")


@pytest.mark.parametrize("lanes", [answer], indirect=True)
def test_a_call_raises_what_the_function_raises(lanes: LaneClient) -> None:
    with pytest.raises(DataError, match=r"pairs\.jsonl: is empty") as error:
        lanes.call(refuse, "pairs.jsonl")
    [note] = error.value.__notes__
    assert "in refuse" in note, "the worker's traceback"


@pytest.mark.parametrize("lanes", [die], indirect=True)
def test_a_call_is_tried_three_times(lanes: LaneClient) -> None:
    with pytest.raises(RuntimeError, match="refuse: its worker died 3 times: RuntimeError: the w"):
        lanes.call(refuse, "x")
    assert lanes.lanes.actor.next_lane == 3


def die_once(client: LaneWorkerClient, job: FunctionCall) -> None:
    if client.lane == 0:
        raise RuntimeError("the worker was killed")
    client.answer(job)


@pytest.mark.parametrize("lanes", [die_once], indirect=True)
def test_a_call_survives_a_death(lanes: LaneClient) -> None:
    assert lanes.call(divmod, 17, 5) == (3, 2)


def test_a_queue_that_died_is_closed_already(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(_: Any) -> None:
        raise ray.exceptions.RayActorError

    monkeypatch.setattr(ray, "get", lost)
    LaneClient(InProcess(OneWorkerLanes(train))).close()


def test_a_worker_stops_when_nobody_reads(
    reported: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.ray_runtime.lanes._LEASE_S", 0.0)
    ended, stopped = threading.Event(), []

    def work(client: LaneWorkerClient, job: TrialJob) -> None:
        assert client.keep_going() is False, "it asked for the first time"
        assert client.keep_going() is True, "and asks again a second later only"
        try:
            client.report({"step": 1})
        except Cancelled:
            stopped.append(job.trial)
        client.finish(FINISHED)
        ended.set()

    lanes = OneWorkerLanes(work)
    monkeypatch.setattr(lanes, "next_job", _taken_once(lanes))
    lanes.submit(JOB)
    assert ended.wait(10)
    lanes.close()
    assert (stopped, reported) == (["t0000"], [{"step": 1}])


def _taken_once(lanes: Lanes) -> Any:
    """The job is taken before its lease of no time at all has run out."""
    take = Lanes.next_job

    def next_job(lane: int) -> Any:
        lanes.tickets[0].read_at = float("inf") if lanes.tickets[0].lane is None else 0.0
        answer = take(lanes, lane)
        lanes.tickets[0].read_at = 0.0
        return answer

    return next_job


def test_ranks_act_on_what_rank_0_was_told(
    reported: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray.train
    import torch.distributed

    broadcast: list[Any] = []

    def receive(values: list[Any], src: int) -> None:
        assert src == 0
        if values == [None]:  # on another rank
            values[0] = broadcast.pop(0)
        else:
            broadcast.extend(values)

    monkeypatch.setattr(torch.distributed, "broadcast_object_list", receive)
    lanes = Lanes(lambda _: None, 0, "sweep", "nowhere", ResourceSettings())
    lanes.submit(JOB)
    jobs = []
    for number in (0, 1):
        context = SimpleNamespace(get_world_rank=lambda n=number: n, get_world_size=lambda: 2)
        monkeypatch.setattr(ray.train, "get_context", lambda of=context: of)
        client = LaneWorkerClient(InProcess(lanes), 0)
        jobs.append(client.next_job())
        client.report({"rank": number})
        assert client.keep_going(), "several ranks stop at evaluations only"
        if number:
            client.finish(FAILED)
    assert jobs == [JOB, JOB]
    assert lanes.tickets[0].events == [{"rank": 0}]
    assert lanes.tickets[0].outcome is None, "the end is for rank 0 to tell"
    assert reported == [{"rank": 0}, {"rank": 1}]


@pytest.mark.parametrize("message", [JOB, FunctionCall(divmod, (17, 5)), CallResult((3, 2))])
def test_messages_travel(message: Any) -> None:
    assert pickle.loads(pickle.dumps(message)) == message


def test_a_call_names_its_error_as_its_result() -> None:
    result = FunctionCall(refuse, ("x",)).run()
    assert isinstance(result.error, DataError)
