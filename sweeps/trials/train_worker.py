"""A Ray Train worker that trains trials, from the sweep's folder alone.

Rank 0 writes every file that a trial leaves (outcomes, checkpoints, the reason of a failure) before
Ray gets the report: what was reported exists. Tested in tests/integration/test_sweep.py.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dpo_core.evaluation.outcomes import write_outcomes
from dpo_core.hardware import describe_hardware
from dpo_core.hyperparams import DPOHyperparams
from dpo_core.storage.retry import full_disk_as_storage_error
from sweeps.ray_runtime.lane_client import Cancelled, rank
from sweeps.ray_runtime.lane_messages import EvaluationMetrics, TrialJob
from sweeps.run_dir import json_files
from sweeps.run_dir.config_file import read_config
from sweeps.run_dir.outcome_files import stored_evaluations
from sweeps.run_dir.paths import SweepPaths
from sweeps.run_dir.prepared import Prepared, read_encoded, read_reference
from sweeps.selection.candidates import CandidateRules
from sweeps.selection.ordering import (
    EARLY_STOPPING_SCORE,
    best_of,
    best_so_far,
    early_stopping_score,
)
from sweeps.trials.metrics import TrialMetrics
from sweeps.trials.resume_checkpoint import newest_checkpoint

if TYPE_CHECKING:
    from dpo_core.training.evaluation_callback import Evaluation
    from dpo_core.training.trial_data import TrialData

CHECK_EVERY_TRIALS = 16
Report = Callable[[EvaluationMetrics], None]
KeepGoing = Callable[[], bool]


class TrialWorker:
    """A worker, with what it keeps between trials: config, pairs, reference, tokenizer, base model."""

    def __init__(self, paths: SweepPaths) -> None:
        import ray.train.torch

        from dpo_core.models import load as models
        from dpo_core.models import reusable as reusable_model

        models.silence_libraries()
        self.paths = paths
        self.config, self.prepared = read_config(paths), Prepared.read(paths)
        self.data = _read_trial_data(paths, self.prepared, self.config.data.weights)
        self.rules = CandidateRules.read(paths, self.config.selection)
        self.tokenizer = models.load_tokenizer(self.config.model)
        device = str(ray.train.torch.get_device())
        self.model = reusable_model.ReusableModel(self.config.model, device)
        self.trained = 0
        pairs = self.config.training.batch_pairs
        self.metrics = TrialMetrics(paths.sweep_id, pairs) if rank() == 0 else None
        write_node_description(paths)

    def train(self, job: TrialJob, *, report: Report, keep_going: KeepGoing = lambda: True) -> None:
        """Train one trial from a fresh adapter or fresh weights, or from its newest checkpoint.

        Args:
            job: The trial.
            report: Called on every rank with the metrics of each evaluation.
            keep_going: Called after each step; False cancels the trial.

        Raises:
            Cancelled: The trial is no longer wanted.
            ReferenceMismatch: The untouched policy scores otherwise than the kept reference, before
                the first trial or after every 16th.
        """
        if self.trained == 0:
            self._check_untouched_policy()
        self._train(job, report, keep_going)
        self.trained += 1
        if self.trained % CHECK_EVERY_TRIALS == 0:
            self._check_untouched_policy()

    def _check_untouched_policy(self) -> None:
        from sweeps.trials.untouched_policy import check_untouched_policy

        with self.model.restored_after_use() as model:
            check_untouched_policy(model, self.data, self.config.model, self.prepared)

    def _train(self, job: TrialJob, report: Report, keep_going: KeepGoing) -> None:
        from dpo_core.training import trainer as training

        reporter = _Reporter(job, self, report, keep_going)
        try:
            with (
                newest_checkpoint(self.paths, job) as resume_from,
                self.model.restored_after_use() as model,
            ):
                training.train(
                    model,
                    self.tokenizer,
                    self.data,
                    DPOHyperparams.from_point(job.point),
                    model_settings=self.config.model,
                    training=self.prepared.resolved_training(self.config.training),
                    seed=job.seed,
                    workdir=Path(tempfile.gettempdir()) / "trl",
                    on_evaluation=reporter.on_evaluation,
                    on_step=reporter.on_step,
                    resume_from=resume_from,
                )
        finally:
            if self.metrics is not None:
                self.metrics.ended(job.trial)


class _Reporter:
    """Reports of one trial: files to the sweep's folder, metrics to Tune and to the dashboard."""

    def __init__(
        self, job: TrialJob, worker: TrialWorker, report: Report, keep_going: KeepGoing
    ) -> None:
        self.job, self.config, self.prepared = job, worker.config, worker.prepared
        self.paths, self.metrics = worker.paths, worker.metrics
        self.report, self.keep_going = report, keep_going
        self.rules = worker.rules
        self.best = best_of(
            self.rules.scored(job.trial, metadata["step"], outcomes)
            for metadata, outcomes in stored_evaluations(self.paths, job.trial)
        )

    def on_step(self, step: int, loss: float) -> None:
        if self.metrics is not None:
            self.metrics.stepped(self.job.trial, loss)
        if not self.keep_going():
            raise Cancelled

    def on_evaluation(self, evaluation: Evaluation) -> None:
        counts = evaluation.outcomes.counts()
        checkpoint = self.rules.scored(self.job.trial, evaluation.step, evaluation.outcomes)
        best = self.best = best_so_far(self.best, checkpoint)
        if self.metrics is not None:
            self._store(evaluation)
            self.metrics.evaluated(self.job.trial, checkpoint.accuracy)
        self.report(
            {
                "trial": self.job.trial,
                "global_step": evaluation.step,
                "accuracy": checkpoint.accuracy,
                "chosen_gain": checkpoint.chosen_gain,
                "drift": checkpoint.drift,
                "violations": checkpoint.violations,
                "best_accuracy": best.accuracy,
                "best_drift": best.drift,
                "best_violations": best.violations,
                EARLY_STOPPING_SCORE: early_stopping_score(best.accuracy, best.can_win),
                "loss": evaluation.loss,
                "seconds": evaluation.seconds,
                **{f"{name}_counts": count.as_dict() for name, count in counts.items()},
            }
        )

    def _store(self, evaluation: Evaluation) -> None:
        """Write the checkpoint, then the outcomes: an evaluation on record has its checkpoint."""
        from dpo_core.training.checkpoints import MANIFEST, write_manifest

        job, step = self.job, evaluation.step
        manifest = {
            "sweep": job.sweep.sweep_id,
            "trial": job.trial,
            "point": dict(job.point),
            "step": step,
            "seed": job.seed,
            "base_model": self.config.model.path,
            "weights_sha256": self.prepared.weights_sha256,
            "data_sha256": self.prepared.data_sha256,
        }
        with full_disk_as_storage_error(self.paths.store), self.paths.store.scratch() as scratch:
            folder = scratch / "checkpoint"
            evaluation.save(folder)
            write_manifest(folder, manifest)
            self.paths.store.upload(folder, self.paths.checkpoint(job.trial, step), last=MANIFEST)
        metadata = {"trial": job.trial, "step": step, "loss": evaluation.loss, "split": "select"}
        content = write_outcomes(evaluation.outcomes, metadata)
        self.paths.store.write(self.paths.outcome(job.trial, step), content)


def write_node_description(paths: SweepPaths) -> None:
    """Write down the hardware of this node: seconds mean little without it."""
    hardware = describe_hardware()
    json_files.NODE.write(paths.store, paths.node(hardware["host"]), hardware)


def _read_trial_data(paths: SweepPaths, prepared: Prepared, weights: dict[str, float]) -> TrialData:
    from dpo_core.training.trial_data import TrialData

    train, select = read_encoded(paths, "train"), read_encoded(paths, "select")
    return TrialData(
        train,
        select,
        read_reference(paths, prepared, "train", train),
        read_reference(paths, prepared, "select", select),
        prepared.layout,
        weights,
        prepared.score_dtype,
    )
