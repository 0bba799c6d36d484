"""One point, one TorchTrainer: the function that Ray Tune runs for each trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dpo_core.errors import TrialFailed
from sweeps.config import ResourceSettings
from sweeps.tuning.worker import TrialJob, failure_of, reason_of, train_loop


def run_trial(
    config: Mapping[str, Any],
    *,
    storage: str,
    sweep_id: str,
    seed: int,
    resources: ResourceSettings,
    retries: int,
) -> None:
    """Train `config["point"]` on a worker group; continue after a death, up to `retries` times.

    Raises TrialFailed, with the reason the worker wrote down. Such a failure is not retried: the
    same numbers would give it again.
    """
    job = TrialJob(storage, sweep_id, config["trial"], config["point"], seed)
    for attempt in range(retries + 1):
        known = failure_of(job.paths, job.trial)
        if known is not None:
            raise TrialFailed(known["reason"], known["detail"])
        error = _fit(job, resources, attempt)
        if error is None:
            return
    raise TrialFailed(*_death(error))


def _fit(job: TrialJob, resources: ResourceSettings, attempt: int) -> Exception | None:
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError
    from ray.tune.integration.ray_train import TuneReportCallback

    again = f"-retry{attempt}" if attempt else ""
    trainer = TorchTrainer(
        train_loop,
        train_loop_config=vars(job),
        scaling_config=ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker=worker_resources(resources),
        ),
        run_config=RunConfig(
            name=f"{job.sweep_id}-{job.trial}{again}",
            storage_path=f"{job.paths.store.uri}/{job.paths.ray}/train",
            callbacks=[TuneReportCallback()],
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as failure:
        error: Exception = failure
        return error
    return None


def worker_resources(resources: ResourceSettings) -> dict[str, float]:
    """Ray's names for what one worker gets."""
    gpus = {"GPU": resources.gpus_per_worker} if resources.gpus_per_worker else {}
    return {"CPU": resources.cpus_per_worker, **gpus}


def _death(error: Exception | None) -> tuple[str, str]:
    """Why a worker died without being able to say so."""
    text = str(error)
    if "OutOfMemory" in text or "out of memory" in text.lower():
        return "out of memory", "the operating system or Ray ended the worker for its memory"
    return "worker died", reason_of(error or RuntimeError("unknown"))[1]
