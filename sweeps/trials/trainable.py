"""One point, one worker group: the function that Ray Tune runs for each trial.

With lanes the group is one that stays up for the next trial; without, a `TorchTrainer` of its own.
Either way a death is survived: the trial goes on from its last checkpoint on a new group; on one of
its own when the lanes' mailbox itself died.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from dpo_core.errors import TrialFailed
from sweeps.config.schema import ResourceSettings
from sweeps.ray_runtime import lanes as lane
from sweeps.ray_runtime.failures import cause_of, failure_of, reason_of, stop_for_storage
from sweeps.ray_runtime.worker_group import fit_group
from sweeps.trials.train_worker import TrialJob, train_loop


def run_trial(
    config: Mapping[str, Any],
    *,
    storage: str,
    sweep_id: str,
    resources: ResourceSettings,
    retries: int,
    lanes: Any = None,
) -> None:
    """Train a `DrawnPoint`, given as a dict; go on after a death, up to `retries` times.

    Raises TrialFailed, with the reason the worker wrote down. Such a failure is not retried: the
    same numbers would give it again. Raises StorageError when that is what a worker died of.
    """
    job = TrialJob(storage, sweep_id, config["trial"], config["point"], config["seed"])
    death = ""
    for attempt in range(retries + 1):
        known = failure_of(job.paths, job.trial)
        if known is not None:
            raise TrialFailed(known["reason"], known["detail"])
        death = _attempt(job, resources, attempt, lanes)
        stop_for_storage(death)
        if not death and failure_of(job.paths, job.trial) is None:
            return
    raise TrialFailed(*_reason_of_death(death))


def _attempt(job: TrialJob, resources: ResourceSettings, attempt: int, lanes: Any) -> str:
    """An empty text when the workers did what they could, else what is known of their death."""
    import ray

    if lanes:
        # A dead mailbox took all lanes with it.
        with contextlib.suppress(ray.exceptions.RayActorError):
            return _on_lane(job, lanes)
    return _on_own_group(job, resources, attempt)


def _on_own_group(job: TrialJob, resources: ResourceSettings, attempt: int) -> str:
    from ray.train.v2.api.exceptions import TrainingFailedError
    from ray.tune.integration.ray_train import TuneReportCallback

    again = f"-retry{attempt}" if attempt else ""
    try:
        fit_group(
            train_loop,
            vars(job),
            name=f"{job.sweep_id}-{job.trial}{again}",
            storage=job.paths.train_runs,
            resources=resources,
            callbacks=[TuneReportCallback()],
        )
    except TrainingFailedError as error:
        return reason_of(cause_of(error))[1]
    return ""


def _on_lane(job: TrialJob, lanes: Any) -> str:
    """Raises RayActorError when there are no lanes any more."""
    import ray
    from ray import tune

    ticket, read = ray.get(lanes.submit.remote(vars(job))), 0
    while True:
        events, outcome, detail = ray.get(lanes.read.remote(ticket, read))
        for event in events:
            tune.report(event)
        read += len(events)
        if outcome in (lane.DIED, lane.CANCELLED):
            return str(detail or outcome)
        if outcome is not None:
            return ""


def _reason_of_death(text: str) -> tuple[str, str]:
    """Why a worker died without being able to say so."""
    if "OutOfMemory" in text or "out of memory" in text.lower():
        return "out of memory", "the operating system or Ray ended the worker for its memory"
    return "worker died", text
