"""Clients of the lane queue: a driver's, which submits jobs, and a worker's, which does them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, cast

from sweeps.config.schema import ResourceSettings
from sweeps.ray_runtime.lane_messages import (
    DIED,
    FINISHED,
    LEAVE,
    WAIT,
    Assignment,
    CallResult,
    EvaluationMetrics,
    FunctionCall,
    JobEvent,
    JobOutcome,
    JobProgress,
    LaneConfig,
    LaneJob,
    NoJob,
)
from sweeps.ray_runtime.lanes import Lanes
from sweeps.ray_runtime.resources import driver_resources
from sweeps.ray_runtime.worker_group import Loop

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_TRIES = 3  # a worker or node may die during a call


class LaneClient:
    """A driver's client. Every method raises RayActorError once the queue itself has died."""

    def __init__(self, lanes: ActorHandle[Lanes]) -> None:
        self.lanes = lanes

    @classmethod
    def open(
        cls,
        loop: Loop[LaneConfig],
        limit: int,
        sweep_id: str,
        storage: str,
        resources: ResourceSettings,
    ) -> LaneClient:
        """Start a lane queue, an actor that takes no CPU and ends with this driver.

        Args:
            loop: What each worker of a lane runs.
            limit: The most lanes at a time.
            sweep_id: The sweep, which names the lanes in the dashboard.
            storage: The folder of Ray Train's own files.
            resources: Workers of a lane, and what each of them gets.

        Returns:
            Its client, which other processes may use too.
        """
        import ray

        # Every lane's worker and every trial's driver may wait inside a call at the same time.
        options = {
            "num_cpus": 0,
            "max_concurrency": 4 * limit + 8,
            "resources": driver_resources(resources),
        }
        actor = ray.remote(Lanes).options(**options)
        lanes = actor.remote(loop, limit, sweep_id, storage, resources)
        ray.get(lanes.start.remote(lanes))
        return cls(lanes)

    def run(self, job: LaneJob, on_event: Callable[[JobEvent], None]) -> JobProgress:
        """Submit a job, hand each of its events to `on_event`, and return its end."""
        import ray

        ticket: int = ray.get(self.lanes.submit.remote(job))
        count = 0
        while True:
            progress: JobProgress = ray.get(self.lanes.read_events.remote(ticket, count))
            for event in progress.events:
                on_event(event)
            count += len(progress.events)
            if progress.outcome is not None:
                return progress

    def call(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call a function on a lane and return its result; again when the lane dies under it.

        Raises what the function raises, and RuntimeError when every lane it ran on has died.
        """
        detail = ""
        for _ in range(_TRIES):
            events: list[JobEvent] = []
            end = self.run(FunctionCall(function, args), events.append)
            if end.outcome != DIED:
                [result] = cast("list[CallResult]", events)
                if result.error is not None:
                    raise result.error
                return cast("T", result.value)
            detail = end.detail
        raise RuntimeError(f"{function.__name__}: its worker died {_TRIES} times: {detail}")

    def close(self) -> None:
        """Tell all lanes to leave; a queue that has died has none."""
        import ray

        with contextlib.suppress(ray.exceptions.RayActorError):
            ray.get(self.lanes.close.remote())


class LaneWorkerClient:
    """The client of one worker of a lane.

    Only rank 0 talks to the queue; its answers are broadcast, so that all ranks act alike.
    """

    def __init__(self, lanes: ActorHandle[Lanes], lane: int) -> None:
        import ray.train

        self.lanes, self.lane, self.ticket = lanes, lane, -1
        self.rank, self.world_size = rank(), ray.train.get_context().get_world_size()
        self.asked_at = 0.0

    def next_job(self) -> LaneJob | None:
        """Wait for this lane's next job; None: leave."""
        answer: Assignment | NoJob = WAIT
        while answer == WAIT:
            answer = self._from_rank_0(lambda: self._get(self.lanes.next_job.remote(self.lane)))
        if answer == LEAVE:
            return None
        assert isinstance(answer, Assignment)
        self.ticket = answer.ticket
        return answer.job

    def answer(self, call: FunctionCall) -> None:
        """Make the call; its result is the job's only event."""
        self._get(self.lanes.report_event.remote(self.ticket, call.run()))
        self.finish(FINISHED)

    def report(self, metrics: EvaluationMetrics) -> None:
        """Report an evaluation to Tune, through the trial's driver, and to this lane's own run in
        the dashboard. Raises Cancelled when the trial is no longer wanted."""
        import ray.train

        wanted: bool = self._from_rank_0(
            lambda: self._get(self.lanes.report_event.remote(self.ticket, metrics))
        )
        ray.train.report(metrics)
        if not wanted:
            raise Cancelled

    def keep_going(self) -> bool:
        """Check whether the trial is still wanted. Called at every step, asks Ray once a second.

        Several ranks must stop together, and so they do at evaluations only, where they communicate
        anyway.
        """
        if self.world_size > 1 or time.monotonic() - self.asked_at < 1.0:
            return True
        self.asked_at = time.monotonic()
        return bool(self._get(self.lanes.is_wanted.remote(self.ticket)))

    def finish(self, outcome: JobOutcome) -> None:
        """End the job, on rank 0."""
        if self.rank == 0:
            self._get(self.lanes.finish.remote(self.ticket, outcome))

    def _from_rank_0(self, ask: Callable[[], T]) -> T:
        """Return rank 0's answer on every rank."""
        if self.world_size == 1:
            return ask()
        import torch.distributed

        answer = [ask() if self.rank == 0 else None]
        torch.distributed.broadcast_object_list(answer, src=0)
        return cast("T", answer[0])

    @staticmethod
    def _get(reference: ObjectRef[object]) -> Any:
        import ray

        return ray.get(reference)


class Cancelled(Exception):
    """Raised in a worker when nobody wants the trial's result any more."""


def rank() -> int:
    """Return this worker's rank in its group."""
    import ray.train

    return int(ray.train.get_context().get_world_rank())
