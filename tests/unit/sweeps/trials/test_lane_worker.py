"""The loop of a lane's workers: what ends a job, what ends the lane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray

from dpo_core.errors import TrialFailed
from dpo_core.storage.store import Store
from sweeps.ray_runtime.failures import read_failure
from sweeps.ray_runtime.lane_client import Cancelled
from sweeps.ray_runtime.lane_messages import FunctionCall, TrialJob
from sweeps.run_dir.paths import SweepPaths
from sweeps.trials import lane_worker

CALL = FunctionCall(divmod, (17, 5))


class ScriptedLane:
    """A client whose jobs are given; keeps what was answered and how each trial ended."""

    def __init__(self, jobs: Sequence[Any], world_size: int) -> None:
        self.jobs, self.world_size = list(jobs), world_size
        self.ends: list[str] = []
        self.answers: list[Any] = []

    def next_job(self) -> Any:
        return self.jobs.pop(0) if self.jobs else None

    def answer(self, call: FunctionCall) -> None:
        self.answers.append(call.run().value)

    def report(self, metrics: dict[str, object]) -> None: ...

    def keep_going(self) -> bool:
        return True

    def finish(self, outcome: str) -> None:
        self.ends.append(outcome)


class ScriptedWorker:
    """A worker whose trials end with the errors that are given, or well."""

    built = 0
    errors: dict[str, BaseException]

    def __init__(self, paths: SweepPaths) -> None:
        type(self).built += 1

    def train(self, job: TrialJob, *, report: Any, keep_going: Callable[[], bool]) -> None:
        assert keep_going()
        if job.trial in self.errors:
            raise self.errors[job.trial]


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    return SweepPaths(Store.open(tmp_path), "sweep")


@pytest.fixture
def serve(paths: SweepPaths, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ScriptedLane]:
    monkeypatch.setattr(lane_worker, "TrialWorker", ScriptedWorker)
    monkeypatch.setattr(ScriptedWorker, "built", 0)

    def run(
        *jobs: int | FunctionCall,
        errors: dict[int, BaseException] | None = None,
        trials_per_lane: int | None = None,
        world_size: int = 1,
    ) -> ScriptedLane:
        ScriptedWorker.errors = {f"t{n:04d}": error for n, error in (errors or {}).items()}
        trials = (
            TrialJob(paths.ref, f"t{j:04d}", {}, 0) if isinstance(j, int) else j for j in jobs
        )
        lane = ScriptedLane(list(trials), world_size)
        monkeypatch.setattr(lane_worker, "LaneWorkerClient", lambda lanes, number: lane)
        try:
            lane_worker.lane_loop({"lane": 0, "lanes": None, "trials_per_lane": trials_per_lane})
        except Exception as error:
            lane.ends.append(type(error).__name__)
        return lane

    return run


def test_trials_and_calls_are_served_in_order_by_one_worker(
    serve: Callable[..., ScriptedLane],
) -> None:
    lane = serve(0, CALL, 1)
    assert (lane.ends, lane.answers, ScriptedWorker.built) == (["finished"] * 2, [(3, 2)], 1)


def test_a_call_alone_loads_no_model(serve: Callable[..., ScriptedLane]) -> None:
    assert serve(CALL).answers == [(3, 2)]
    assert ScriptedWorker.built == 0


def test_a_lane_leaves_after_its_trials_and_calls_do_not_count(
    serve: Callable[..., ScriptedLane],
) -> None:
    lane = serve(0, CALL, CALL, 1, 2, trials_per_lane=2)
    assert lane.ends == ["finished"] * 2
    assert [job.trial for job in lane.jobs] == ["t0002"]


def test_a_cancelled_trial_leaves_the_lane_as_it_was(serve: Callable[..., ScriptedLane]) -> None:
    lane = serve(0, 1, errors={0: Cancelled()})
    assert (lane.ends, ScriptedWorker.built) == (["cancelled", "finished"], 1)


def test_a_trial_that_fails_by_its_numbers_is_written_down_and_the_lane_goes_on(
    serve: Callable[..., ScriptedLane], paths: SweepPaths
) -> None:
    lane = serve(0, 1, errors={0: TrialFailed("nan", "the loss is nan")})
    assert lane.ends == ["failed", "finished"]
    failure = read_failure(paths, "t0000")
    assert failure is not None
    assert failure["reason"] == "nan"


def test_after_another_error_the_next_trial_gets_a_new_process(
    serve: Callable[..., ScriptedLane], paths: SweepPaths
) -> None:
    lane = serve(0, 1, errors={0: RuntimeError("CUDA out of memory")})
    assert lane.ends == ["failed"]
    assert len(lane.jobs) == 1
    assert read_failure(paths, "t0000")["reason"] == "out of memory"


@pytest.mark.parametrize(
    ("error", "world_size", "written"),
    [
        (ray.exceptions.ActorDiedError(), 1, False),  # the lane queue is gone
        (RuntimeError("shapes do not match"), 2, True),  # the other rank may wait for ever
        (TrialFailed("nan", "the loss is nan"), 2, True),
    ],
)
def test_some_errors_end_the_whole_group(
    serve: Callable[..., ScriptedLane],
    paths: SweepPaths,
    error: Exception,
    world_size: int,
    written: bool,
) -> None:
    lane = serve(0, 1, errors={0: error}, world_size=world_size)
    assert lane.ends == [type(error).__name__], "it was raised, and the job is not ended here"
    assert (read_failure(paths, "t0000") is not None) == written
