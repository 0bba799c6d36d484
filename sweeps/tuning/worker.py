"""What runs on a Ray Train worker: one trial, from the sweep's folder alone.

Every file a trial leaves (outcomes, checkpoints, the reason of a failure) is written here, by rank
0, before Ray hears of it: what was reported exists.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo_core.errors import TrialFailed, UserError
from dpo_core.evaluation import Outcomes, read_outcomes, write_outcomes
from dpo_core.hyperparams import DPOHyperparams
from dpo_core.store import Store
from sweeps.config import SweepConfig
from sweeps.paths import SweepPaths
from sweeps.prepare import Prepared, read_config, read_encoded, read_reference

# What torch says on a GPU, and what it says on a CPU.
_MEMORY = re.compile(r"out of memory|not enough memory", re.IGNORECASE)


@dataclass(frozen=True)
class TrialJob:
    """All that a worker is told; the rest is in the folder."""

    storage: str
    sweep_id: str
    trial: str
    point: Mapping[str, Any]
    seed: int

    @property
    def paths(self) -> SweepPaths:
        return SweepPaths(Store.open(self.storage), self.sweep_id)


def train_loop(job_fields: dict[str, Any]) -> None:
    """Ray Train's `train_loop_per_worker`. A failure is written down, then raised."""
    job = TrialJob(**job_fields)
    try:
        _train(job)
    except Exception as error:
        _record_failure(job, error)
        raise


def _train(job: TrialJob) -> None:
    import ray.train
    import ray.train.torch

    from dpo_core import models, training

    models.quiet()
    paths = job.paths
    config, prepared = read_config(paths), Prepared.read(paths)
    data = _trial_data(paths, prepared, training.TrialData)
    device = str(ray.train.torch.get_device())
    reporter = _Reporter(job, config, prepared, _is_first())
    with _resume_folder(paths, job.trial) as resume_from:
        training.train(
            models.load_model(config.model, device),
            models.load_tokenizer(config.model),
            data,
            DPOHyperparams.from_point(job.point),
            model_settings=config.model,
            training=config.training,
            seed=job.seed,
            workdir=Path(tempfile.gettempdir()) / "dpo-sweeps-trl",
            on_evaluation=reporter.on_evaluation,
            on_step=reporter.on_step,
            resume_from=resume_from,
        )


class _Reporter:
    """Stores each evaluation and tells Ray: metrics to Tune, gauges to the dashboard."""

    def __init__(self, job: TrialJob, config: SweepConfig, prepared: Prepared, first: bool) -> None:
        self.job, self.config, self.prepared, self.first = job, config, prepared, first
        self.paths = job.paths
        self.objective = config.selection.objective
        self.best = best_so_far(self.paths, job.trial, self.objective)
        self.started = time.monotonic()
        self.gauges = _Gauges(job) if first else None

    def on_step(self, step: int, loss: float) -> None:
        if self.gauges is not None:
            self.gauges.set("loss", loss)

    def on_evaluation(self, evaluation: Any) -> None:
        import ray.train

        counts = evaluation.outcomes.counts()
        accuracy = counts[self.objective].accuracy
        self.best = max(self.best, accuracy)
        if self.first:
            self._store(evaluation)
            assert self.gauges is not None
            self.gauges.set("accuracy", accuracy)
        metrics = {
            "trial": self.job.trial,
            "global_step": evaluation.step,
            "accuracy": accuracy,
            "best_accuracy": self.best,
            "loss": evaluation.loss,
            "seconds": time.monotonic() - self.started,
            **{f"{name}_counts": count.as_dict() for name, count in counts.items()},
        }
        ray.train.report(metrics)

    def _store(self, evaluation: Any) -> None:
        """Checkpoint first: an evaluation on record always had its checkpoint."""
        from dpo_core.checkpoints import MANIFEST, write_manifest

        job, step = self.job, evaluation.step
        about = {
            "sweep": job.sweep_id,
            "trial": job.trial,
            "point": dict(job.point),
            "step": step,
            "seed": job.seed,
            "base_model": self.config.model.path,
            "weights_sha256": self.prepared.weights_sha256,
            "data_sha256": self.prepared.data_sha256,
        }
        with tempfile.TemporaryDirectory(prefix="dpo-sweeps-", dir=self.paths.scratch) as scratch:
            folder = Path(scratch) / "checkpoint"
            evaluation.save(folder)
            write_manifest(folder, about)
            self.paths.store.upload(folder, self.paths.checkpoint(job.trial, step), last=MANIFEST)
        metadata = {"trial": job.trial, "step": step, "loss": evaluation.loss, "split": "select"}
        content = write_outcomes(evaluation.outcomes, metadata)
        self.paths.store.write(self.paths.outcome(job.trial, step), content)


class _Gauges:
    """`dpo_sweeps_accuracy` and `dpo_sweeps_loss` of a trial, in Ray's metrics."""

    def __init__(self, job: TrialJob) -> None:
        from ray.util.metrics import Gauge

        about = {
            "accuracy": "Held-out preference accuracy at the last evaluation, 0 to 1",
            "loss": "Training loss of the last step, nats",
        }
        self.gauges = {
            name: Gauge(f"dpo_sweeps_{name}", description=text, tag_keys=("sweep", "trial"))
            for name, text in about.items()
        }
        for gauge in self.gauges.values():
            gauge.set_default_tags({"sweep": job.sweep_id, "trial": job.trial})

    def set(self, name: str, value: float) -> None:
        self.gauges[name].set(value)


def best_so_far(paths: SweepPaths, trial: str, objective: str) -> float:
    """Best stored accuracy of a trial that is being continued; 0 for a fresh one."""
    return max((o.count(objective).accuracy for _, o in stored(paths, trial)), default=0.0)


def stored(paths: SweepPaths, trial: str) -> list[tuple[dict[str, Any], Outcomes]]:
    """(metadata, outcomes) of every stored evaluation of a trial, by step."""
    found = (read_outcomes(paths.store.read(name)) for _, name in paths.evaluations_of(trial))
    return [(metadata, outcomes) for outcomes, metadata in found]


def failure_of(paths: SweepPaths, trial: str) -> dict[str, str] | None:
    """The {reason, detail} that a worker wrote down, if it could."""
    name = paths.failure(trial)
    if not paths.store.exists(name):
        return None
    failure: dict[str, str] = json.loads(paths.store.read(name))
    return failure


def reason_of(error: BaseException) -> tuple[str, str]:
    """A short kind and one line of detail."""
    if isinstance(error, TrialFailed):
        return error.reason, error.detail
    text = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    if isinstance(error, MemoryError) or _MEMORY.search(str(error)):
        return "out of memory", text
    return ("settings" if isinstance(error, UserError) else "exception"), text


def _record_failure(job: TrialJob, error: Exception) -> None:
    reason, detail = reason_of(error)
    failure = {"reason": reason, "detail": detail, "traceback": traceback.format_exc()}
    job.paths.store.write(job.paths.failure(job.trial), json.dumps(failure, indent=2).encode())


def _trial_data(paths: SweepPaths, prepared: Prepared, build: Callable[..., Any]) -> Any:
    train, select = read_encoded(paths, "train"), read_encoded(paths, "select")
    return build(
        train,
        select,
        read_reference(paths, prepared, "train", train),
        read_reference(paths, prepared, "select", select),
    )


class _resume_folder(AbstractContextManager[Path | None]):
    """The newest whole checkpoint of a trial as a local folder, or None for a fresh start.

    A kill between a checkpoint and its outcomes leaves the first without the second; such a step is
    trained again, or its evaluation would be missing from the ledger.
    """

    def __init__(self, paths: SweepPaths, trial: str) -> None:
        self.paths, self.trial = paths, trial
        self.scratch = tempfile.TemporaryDirectory(prefix="dpo-sweeps-")

    def __enter__(self) -> Path | None:
        from dpo_core.checkpoints import read_manifest

        evaluated = {step for step, _ in self.paths.evaluations_of(self.trial)}
        for step in reversed(self.paths.checkpoint_steps(self.trial)):
            if step not in evaluated:
                continue
            name = self.paths.checkpoint(self.trial, step)
            folder = self.paths.store.download(name, Path(self.scratch.name) / str(step))
            try:
                read_manifest(folder)
            except (OSError, ValueError):
                continue
            return folder
        return None

    def __exit__(self, *_: object) -> None:
        self.scratch.cleanup()


def _is_first() -> bool:
    import ray.train

    return bool(ray.train.get_context().get_world_rank() == 0)
