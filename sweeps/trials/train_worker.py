"""What runs on a Ray Train worker: trials, from the sweep's folder alone.

Every file a trial leaves (outcomes, checkpoints, the reason of a failure) is written here, by rank
0, before Ray hears of it: what was reported exists.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from dpo_core.evaluation.outcomes import Outcomes, write_outcomes
from dpo_core.hardware import describe_hardware
from dpo_core.hyperparams import DPOHyperparams
from dpo_core.storage.private_tmp import private_tmp_folder
from dpo_core.storage.retry import full_disk_as_storage_error
from sweeps.ray_runtime.lane_client import Cancelled, rank
from sweeps.ray_runtime.lane_messages import TrialJob, TrialMetrics
from sweeps.run_dir.config_file import read_config
from sweeps.run_dir.outcome_files import stored_evaluations
from sweeps.run_dir.paths import SweepPaths
from sweeps.run_dir.prepared import Prepared, read_encoded, read_reference
from sweeps.selection.ordering import ScoredCheckpoint, best_of, best_so_far
from sweeps.trials.metrics import TrialGauges


class TrialWorker:
    """What a worker keeps between trials: config, pairs, reference, tokenizer, base model."""

    def __init__(self, paths: SweepPaths) -> None:
        import ray.train.torch

        from dpo_core.models import load as models
        from dpo_core.models import reusable as reusable_model
        from dpo_core.training import trainer  # noqa: F401  (importing TRL takes seconds)
        from dpo_core.training.trial_data import TrialData

        models.silence_libraries()
        self.paths = paths
        self.config, self.prepared = read_config(paths), Prepared.read(paths)
        self.data = _trial_data(paths, self.prepared, self.config.data.weights, TrialData)
        self.tokenizer = models.load_tokenizer(self.config.model)
        device = str(ray.train.torch.get_device())
        self.model = reusable_model.ReusableModel(self.config.model, device)
        pairs = self.config.training.batch_pairs
        self.gauges = TrialGauges(paths.sweep_id, pairs) if rank() == 0 else None
        note_node(paths)

    def train(
        self,
        job: TrialJob,
        *,
        report: Callable[[TrialMetrics], None],
        keep_going: Callable[[], bool] = lambda: True,
    ) -> None:
        """One trial from a fresh adapter or fresh weights; raises Cancelled when told to stop."""
        from dpo_core.training import trainer as training

        reporter = _Reporter(job, self, report, keep_going)
        try:
            with (
                _resume_folder(self.paths, job) as resume_from,
                self.model.restored_after_use() as model,
            ):
                training.train(
                    model,
                    self.tokenizer,
                    self.data,
                    DPOHyperparams.from_point(job.point),
                    model_settings=self.config.model,
                    training=self.prepared.fitted(self.config.training),
                    seed=job.seed,
                    workdir=private_tmp_folder() / "trl",
                    on_evaluation=reporter.on_evaluation,
                    on_step=reporter.on_step,
                    resume_from=resume_from,
                )
        finally:
            if self.gauges is not None:
                self.gauges.ended(job.trial)


class _Reporter:
    """Stores each evaluation and tells Ray: metrics to Tune, gauges to the dashboard."""

    def __init__(
        self,
        job: TrialJob,
        worker: TrialWorker,
        report: Callable[[TrialMetrics], None],
        keep_going: Callable[[], bool],
    ) -> None:
        self.job, self.config, self.prepared = job, worker.config, worker.prepared
        self.paths, self.gauges = worker.paths, worker.gauges
        self.report, self.keep_going = report, keep_going
        self.objective = self.config.selection.objective
        self.best = best_of(
            self._scored(metadata["step"], outcomes)
            for metadata, outcomes in stored_evaluations(self.paths, job.trial)
        )

    def on_step(self, step: int, loss: float) -> None:
        if self.gauges is not None:
            self.gauges.stepped(self.job.trial, loss)
        if not self.keep_going():
            raise Cancelled

    def on_evaluation(self, evaluation: Any) -> None:
        counts = evaluation.outcomes.counts()
        checkpoint = self._scored(evaluation.step, evaluation.outcomes)
        best = self.best = best_so_far(self.best, checkpoint)
        if self.gauges is not None:
            self._store(evaluation)
            self.gauges.evaluated(self.job.trial, checkpoint.accuracy)
        self.report(
            {
                "trial": self.job.trial,
                "global_step": evaluation.step,
                "accuracy": checkpoint.accuracy,
                "drift": checkpoint.drift,
                "best_accuracy": best.accuracy,
                "best_drift": best.drift,
                "loss": evaluation.loss,
                "seconds": evaluation.seconds,
                **{f"{name}_counts": count.as_dict() for name, count in counts.items()},
            }
        )

    def _scored(self, step: int, outcomes: Outcomes) -> ScoredCheckpoint:
        return ScoredCheckpoint.from_outcomes(self.job.trial, step, outcomes, self.objective)

    def _store(self, evaluation: Any) -> None:
        """Checkpoint first: an evaluation on record always had its checkpoint."""
        from dpo_core.training.checkpoints import MANIFEST, write_manifest

        job, step = self.job, evaluation.step
        about = {
            "sweep": job.sweep.sweep_id,
            "trial": job.trial,
            "point": dict(job.point),
            "step": step,
            "seed": job.seed,
            "base_model": self.config.model.path,
            "weights_sha256": self.prepared.weights_sha256,
            "data_sha256": self.prepared.data_sha256,
        }
        with (
            full_disk_as_storage_error(self.paths.store),
            tempfile.TemporaryDirectory(prefix="dpo-sweeps-", dir=self.paths.scratch) as scratch,
        ):
            folder = Path(scratch) / "checkpoint"
            evaluation.save(folder)
            write_manifest(folder, about)
            self.paths.store.upload(folder, self.paths.checkpoint(job.trial, step), last=MANIFEST)
        metadata = {"trial": job.trial, "step": step, "loss": evaluation.loss, "split": "select"}
        content = write_outcomes(evaluation.outcomes, metadata)
        self.paths.store.write(self.paths.outcome(job.trial, step), content)


def note_node(paths: SweepPaths) -> None:
    """What this worker's node is made of, for the report: a number of seconds says little alone."""
    made_of = describe_hardware()
    paths.store.write(paths.node(made_of["host"]), json.dumps(made_of).encode())


def _trial_data(
    paths: SweepPaths, prepared: Prepared, weights: Mapping[str, float], build: Callable[..., Any]
) -> Any:
    train, select = read_encoded(paths, "train"), read_encoded(paths, "select")
    return build(
        train,
        select,
        read_reference(paths, prepared, "train", train),
        read_reference(paths, prepared, "select", select),
        prepared.not_shared is None,
        weights,
    )


class _resume_folder(AbstractContextManager[Path | None]):
    """The newest whole checkpoint of a trial as a local folder, or None for a fresh start.

    A kill between a checkpoint and its outcomes leaves the first without the second; such a step is
    trained again, or its evaluation would be missing from the ledger. What another point left under
    the same name is not this trial's.
    """

    def __init__(self, paths: SweepPaths, job: TrialJob) -> None:
        self.paths, self.job, self.trial = paths, job, job.trial
        self.scratch = tempfile.TemporaryDirectory(prefix="dpo-sweeps-")

    def __enter__(self) -> Path | None:
        from dpo_core.training.checkpoints import read_manifest

        evaluated = {metadata["step"] for metadata, _ in stored_evaluations(self.paths, self.trial)}
        for step in reversed(self.paths.checkpoint_steps(self.trial)):
            if step not in evaluated:
                continue
            name = self.paths.checkpoint(self.trial, step)
            folder = self.paths.store.download(name, Path(self.scratch.name) / str(step))
            try:
                manifest = read_manifest(folder)
            except (OSError, ValueError):
                continue
            if (manifest["point"], manifest["seed"]) == (dict(self.job.point), self.job.seed):
                return folder
        return None

    def __exit__(self, *_: object) -> None:
        self.scratch.cleanup()
