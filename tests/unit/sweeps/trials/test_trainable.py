"""A trial through deaths: how often it is tried, on which group, and what it fails with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from dpo_core.errors import StorageError, TrialFailed
from dpo_core.storage.store import Store
from sweeps.config.schema import ResourceSettings
from sweeps.ray_runtime.lane_messages import CANCELLED, DIED, FAILED, FINISHED, JobProgress
from sweeps.run_dir.paths import SweepPaths
from sweeps.search.drawn_point import DrawnPoint
from sweeps.trials import trainable
from sweeps.trials.trainable import TrialSetup, run_trial

DRAWN = DrawnPoint("t0000", {"beta": 0.1}, 7)


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    return SweepPaths(Store.open(tmp_path), "sweep")


@pytest.fixture
def on_own_group(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Groups of the trial's own end as given, one after the other; which attempts they were."""

    def script(*ends: str) -> list[int]:
        attempts: list[int] = []

        def end(job: Any, resources: Any, attempt: int) -> str:
            attempts.append(attempt)
            return ends[len(attempts) - 1]

        monkeypatch.setattr(trainable, "_on_own_group", end)
        return attempts

    return script


class Lanes:
    """Lanes on which each job ends as given."""

    def __init__(self, *ends: Any) -> None:
        self.ends, self.jobs = list(ends), []

    def run(self, job: Any, on_event: Any) -> JobProgress:
        self.jobs.append(job)
        end = self.ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return JobProgress([], *end)


def setup(paths: SweepPaths, retries: int = 2, lanes: Any = None) -> TrialSetup:
    return TrialSetup(paths.ref, ResourceSettings(), retries, lanes)


def test_a_trial_that_ends_well_is_run_once(
    paths: SweepPaths, on_own_group: Callable[..., list[int]]
) -> None:
    attempts = on_own_group("")
    run_trial(DRAWN, setup(paths))
    assert attempts == [0]


def test_a_death_is_survived_as_often_as_allowed(
    paths: SweepPaths, on_own_group: Callable[..., list[int]]
) -> None:
    attempts = on_own_group("the worker was killed", "")
    run_trial(DRAWN, setup(paths))
    assert attempts == [0, 1]
    attempts = on_own_group("killed", "killed", "killed by signal 9")
    with pytest.raises(TrialFailed) as error:
        run_trial(DRAWN, setup(paths))
    assert (error.value.reason, error.value.detail) == ("worker died", "killed by signal 9")
    assert attempts == [0, 1, 2]


def test_a_worker_killed_for_its_memory_is_out_of_memory(
    paths: SweepPaths, on_own_group: Callable[..., list[int]]
) -> None:
    on_own_group("OutOfMemoryError: Task was killed")
    with pytest.raises(TrialFailed) as error:
        run_trial(DRAWN, setup(paths, retries=0))
    assert error.value.reason == "out of memory"


def test_a_failure_that_was_written_down_is_not_tried_again(
    paths: SweepPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[int] = []

    def fail(job: Any, resources: Any, attempt: int) -> str:
        attempts.append(attempt)
        row = {"reason": "nan", "detail": "the loss is nan", "traceback": ""}
        paths.store.write(paths.failure("t0000"), json.dumps(row).encode())
        return ""

    monkeypatch.setattr(trainable, "_on_own_group", fail)
    with pytest.raises(TrialFailed) as error:
        run_trial(DRAWN, setup(paths))
    assert (error.value.reason, attempts) == ("nan", [0])


def test_a_storage_that_is_full_ends_the_sweep(
    paths: SweepPaths, on_own_group: Callable[..., list[int]]
) -> None:
    attempts = on_own_group("StorageError: /runs: the disk is full")
    with pytest.raises(StorageError, match="the disk is full"):
        run_trial(DRAWN, setup(paths))
    assert attempts == [0]


@pytest.mark.parametrize("outcome", [FINISHED, FAILED])
def test_a_lane_that_did_what_it_could_is_enough(
    paths: SweepPaths, on_own_group: Callable[..., list[int]], outcome: Any
) -> None:
    attempts, lanes = on_own_group(), Lanes((outcome, ""))
    run_trial(DRAWN, setup(paths, lanes=lanes))
    [job] = lanes.jobs
    assert (job.trial, job.point, job.seed, job.paths.store.uri) == (
        "t0000",
        DRAWN.point,
        7,
        paths.store.uri,
    )
    assert attempts == []


@pytest.mark.parametrize("end", [(DIED, "killed"), (CANCELLED, "")])
def test_another_lane_takes_over_from_one_that_died(
    paths: SweepPaths, on_own_group: Callable[..., list[int]], end: Any
) -> None:
    attempts, lanes = on_own_group(), Lanes(end, (FINISHED, ""))
    run_trial(DRAWN, setup(paths, lanes=lanes))
    assert (len(lanes.jobs), attempts) == (2, [])


def test_without_its_lane_queue_a_trial_has_a_group_of_its_own(
    paths: SweepPaths, on_own_group: Callable[..., list[int]]
) -> None:
    attempts, lanes = on_own_group(""), Lanes(ray.exceptions.RayActorError())
    run_trial(DRAWN, setup(paths, lanes=lanes))
    assert (len(lanes.jobs), attempts) == (1, [0])
