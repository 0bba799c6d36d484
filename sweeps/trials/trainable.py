"""One point, one worker group: the function that Ray Tune runs for each trial.

With lanes the group is one that stays up for the next trial; without, a `TorchTrainer` of its own.
Either way a trial survives a death: it goes on from its last checkpoint on a new group, or on one of
its own when the lane queue itself has died. Tested in tests/integration/test_sweep.py.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TypedDict

from dpo_core.errors import TrialFailed
from dpo_core.storage.private_tmp import use_own_tmp_folder
from sweeps.config.schema import ResourceSettings
from sweeps.ray_runtime.failures import (
    first_worker_error,
    raise_error_of_sweep,
    read_failure,
    reason_and_detail,
    record_failure,
)
from sweeps.ray_runtime.lane_client import LaneClient
from sweeps.ray_runtime.lane_messages import CANCELLED, DIED, TrialJob
from sweeps.ray_runtime.worker_group import fit_group
from sweeps.run_dir.paths import SweepRef
from sweeps.search.drawn_point import DrawnPoint
from sweeps.trials.train_worker import TrialWorker


@dataclass(frozen=True)
class TrialSetup:
    """Settings that all trials of a sweep share. `retries` are those of one trial."""

    sweep: SweepRef
    resources: ResourceSettings
    retries: int
    lanes: LaneClient | None = None


def run_trial(drawn: DrawnPoint, setup: TrialSetup) -> None:
    """Train a drawn point; go on after a death, up to `setup.retries` times.

    Raises TrialFailed, with the reason the worker wrote down. Such a failure is not retried: the
    same numbers would give it again. Raises StorageError or ReferenceMismatch when that
    is what a worker died of.
    """
    job = TrialJob(setup.sweep, drawn.trial, drawn.point, drawn.seed)
    death = ""
    for attempt in range(setup.retries + 1):
        failure = read_failure(job.paths, job.trial)
        if failure is not None:
            raise TrialFailed(failure["reason"], failure["detail"])
        death = _attempt(job, setup, attempt)
        raise_error_of_sweep(death)
        if not death and read_failure(job.paths, job.trial) is None:
            return
    raise TrialFailed(*_reason_of_death(death))


class _GroupConfig(TypedDict):
    job: TrialJob


def train_loop(config: _GroupConfig) -> None:
    """Train one trial, as Ray Train's `train_loop_per_worker`. Write a failure down, then raise."""
    from ray import train as ray_train

    job = config["job"]
    use_own_tmp_folder()
    try:
        TrialWorker(job.paths).train(job, report=ray_train.report)
    except Exception as error:
        record_failure(job.paths, job.trial, error)
        raise


def _attempt(job: TrialJob, setup: TrialSetup, attempt: int) -> str:
    """Return an empty text when the workers did what they could, else what ended them."""
    import ray

    if setup.lanes is not None:
        # A lane queue that died took all lanes with it.
        with contextlib.suppress(ray.exceptions.RayActorError):
            return _on_lane(job, setup.lanes)
    return _on_own_group(job, setup.resources, attempt)


def _on_own_group(job: TrialJob, resources: ResourceSettings, attempt: int) -> str:
    from ray.train.v2.api.exceptions import TrainingFailedError
    from ray.tune.integration.ray_train import TuneReportCallback

    again = f"-retry{attempt}" if attempt else ""
    config: _GroupConfig = {"job": job}
    try:
        fit_group(
            train_loop,
            config,
            name=f"{job.sweep.sweep_id}-{job.trial}{again}",
            storage=job.paths.train_runs,
            resources=resources,
            callbacks=[TuneReportCallback()],
        )
    except TrainingFailedError as error:
        return reason_and_detail(first_worker_error(error))[1]
    return ""


def _on_lane(job: TrialJob, lanes: LaneClient) -> str:
    """Train on a lane. Raises RayActorError when there are no lanes any more."""
    from ray import tune

    end = lanes.run(job, tune.report)
    if end.outcome in (DIED, CANCELLED):
        return end.detail or end.outcome
    return ""


def _reason_of_death(text: str) -> tuple[str, str]:
    """Name the reason why a worker died without being able to write it down."""
    if "OutOfMemory" in text or "out of memory" in text.lower():
        return "out of memory", "the operating system or Ray ended the worker for its memory"
    return "worker died", text
