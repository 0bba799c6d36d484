"""The callback that keeps a sweep's ledger while Ray Tune runs its trials.

Tune's events become ledger records, events for the terminal, deleted checkpoints and published
studies.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ray import tune

from dpo_core.hyperparams import DPOHyperparams
from dpo_core.training.checkpoints import versions
from sweeps.config.schema import SweepConfig
from sweeps.ray_runtime.failures import raise_error_of_sweep, read_failure, reason_and_detail
from sweeps.run_dir import ledger
from sweeps.run_dir.ledger import EvaluationRecord, TrialRecord, evaluation_record, searched
from sweeps.run_dir.outcome_files import stored_evaluations
from sweeps.run_dir.paths import SweepPaths
from sweeps.run_dir.prepared import Prepared, read_labels
from sweeps.search.drawn_point import DrawnPoint
from sweeps.search.pending_trials import delete_torn_outcomes, without_record
from sweeps.search.searcher import Result
from sweeps.search.shared_study import SharedStudy, study_name
from sweeps.search.study import METRIC, PublishedStudy
from sweeps.selection.candidates import CandidateRules
from sweeps.selection.rule import Candidate
from sweeps.trials.checkpoint_retention import CheckpointRetention
from sweeps.trials.events import EndKind, OnTrialEvent, TrialEvent
from sweeps.trials.metrics import SweepMetrics
from sweeps.trials.progress import ProgressCounter

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

log = logging.getLogger("dpo_sweeps")

# Publishing takes a tenth of a second, and only people read the studies while a sweep runs.
_PUBLISH_EVERY_S = 10.0
_MOST_STARTS = 3
"""How often a trial may find the actor dead that it was handed to, before it counts as failed."""


class LedgerCallback(tune.Callback):  # type: ignore[misc]
    """Tune's callback that writes a record of each trial that ends."""

    def __init__(
        self,
        config: SweepConfig,
        paths: SweepPaths,
        prepared: Prepared,
        on_event: OnTrialEvent,
        finalists: Sequence[Candidate] = (),
    ) -> None:
        """Read the ledger as it is so far.

        Args:
            config: The sweep's configuration.
            paths: The sweep's folder.
            prepared: What was prepared for all trials.
            on_event: Called with each event of a trial.
            finalists: Points of the search that are trained again with new seeds.
        """
        self.config, self.paths = config, paths
        self.objective = config.selection.objective
        self.mean_tokens = float(prepared.reports["train"]["mean_response_tokens"])
        self.records = ledger.read(paths.store, paths.ledger)
        trials = config.planned_trials
        trials += config.selection.confirm.trials(trials)
        self.progress = ProgressCounter(
            self.records, self.objective, trials, config.search.concurrent
        )
        self.metrics = SweepMetrics(paths.sweep_id)
        self.metrics.show(self.progress.now, self.progress.running)
        self.on_event = on_event
        url = config.search.study
        self.shared_study = (
            None if url is None else SharedStudy(url, study_name(config, prepared), paths.sweep_id)
        )
        self.labels = read_labels(paths, "select")
        self.rules = CandidateRules.read(paths, config.selection)
        self.retention = CheckpointRetention(config, paths, finalists)
        self.started_at: dict[str, float] = {}
        self.unstarted: Counter[str] = Counter()
        self.published_at = -_PUBLISH_EVERY_S
        self.scratch = tempfile.TemporaryDirectory(prefix="dpo-sweeps-")
        self.study = PublishedStudy(
            # SQLite needs a file of its own machine, and no ? or % in its name.
            Path(self.scratch.name) / paths.study,
            paths.sweep_id,
            config.search_space,
            self.objective,
            config.search.objectives,
        )

    def __getstate__(self) -> dict[str, object]:
        """Return nothing: Tune pickles its callbacks for a restore that we never use."""
        return {}

    def on_trial_start(self, trial: Trial, **_: object) -> None:
        """Report that a trial has started."""
        drawn = DrawnPoint(**trial.config)
        if drawn.trial not in self.started_at:  # Tune starts a trial again after a death
            self.started_at[drawn.trial] = time.monotonic()
            self.unstarted.pop(drawn.trial, None)
            self._report(TrialEvent("started", drawn.trial, dict(drawn.point)))

    def on_trial_result(self, trial: Trial, result: Result, **_: object) -> None:
        """Report an evaluation, then delete the checkpoints that can no longer win."""
        if METRIC not in result:
            return
        drawn = DrawnPoint(**trial.config)
        self._report(TrialEvent("evaluated", drawn.trial, drawn.point, result))
        self.retention.delete_others(self.records)

    def on_trial_complete(self, trial: Trial, **_: object) -> None:
        """Record a trial that was trained to its end, or that the scheduler stopped."""
        drawn = DrawnPoint(**trial.config)
        self.end(drawn, ledger.FINISHED if self._is_trained(drawn.trial) else ledger.STOPPED)

    def on_trial_recover(self, trial: Trial, **_: object) -> None:
        """End the sweep where what ended a trial would end every other, instead of starting it again."""
        raise_error_of_sweep(_error_text(trial))

    def on_trial_error(self, trial: Trial, **_: object) -> None:
        """Record a trial that failed; end the sweep where every other would fail as well.

        Tune hands a new trial to the actor of one that has ended. Where that actor has died, the new
        trial has not begun and stays open.
        """
        raise_error_of_sweep(_error_text(trial))
        drawn = DrawnPoint(**trial.config)
        if self._end_as_written(drawn):
            return
        if drawn.trial not in self.started_at:
            self.unstarted[drawn.trial] += 1
        if not 0 < self.unstarted[drawn.trial] < _MOST_STARTS:
            error = trial.get_error() or RuntimeError("the trial's driver died")
            self.end(drawn, ledger.FAILED, *reason_and_detail(error))

    def to_be_run(self, pending: Sequence[DrawnPoint]) -> list[DrawnPoint]:
        """Return the pending points that still have to be trained.

        A kill between a trial's end and its record leaves the record to us: what was trained to its
        end is never trained again.
        """
        for (
            drawn
        ) in pending:  # of all, first: at the end of one, the outcomes of the others are read
            delete_torn_outcomes(self.paths, drawn.trial)
        for drawn in pending:
            if not self._end_as_written(drawn) and self._is_trained(drawn.trial):
                self.end(drawn, ledger.FINISHED)
        return without_record(pending, self.records)

    def end(
        self,
        drawn: DrawnPoint,
        status: EndKind,
        reason: str | None = None,
        detail: str | None = None,
    ) -> None:
        """Write the record of a trial, once, with what it has stored.

        Args:
            drawn: The trial, its point and its seed.
            status: How it ended.
            reason: Why it failed, in a word or two.
            detail: One line about that.
        """
        trial, point = drawn.trial, dict(drawn.point)
        if any(record.trial == trial for record in self.records):
            return
        now = time.monotonic()
        record = TrialRecord(
            trial=trial,
            point=point,
            status=status,
            seed=drawn.seed,
            evaluations=self._evaluations(trial),
            reason=reason,
            detail=detail,
            seconds=round(now - self.started_at.pop(trial, now), 3),
            ended=datetime.now(UTC).isoformat(timespec="seconds"),
            loss_beta=DPOHyperparams.from_point(point).loss_beta(self.mean_tokens),
            versions=versions(),
            confirms=self.paths.confirms(trial),
        )
        ledger.append(self.paths.store, self.paths.ledger, record)
        self.records.append(record)
        if time.monotonic() >= self.published_at + _PUBLISH_EVERY_S:
            self.publish()
        self.retention.delete_others(self.records)
        self._report(TrialEvent(status, trial, point, record=record))

    def record_so_far(self, drawn: DrawnPoint) -> TrialRecord:
        """Return a record of a trial that goes on, with the evaluations that it has stored."""
        evaluations = self._evaluations(drawn.trial)
        return TrialRecord(drawn.trial, drawn.point, "running", drawn.seed, evaluations)

    def close_lost(self, pending: Sequence[DrawnPoint]) -> bool:
        """Record trials as failed that have started and that Tune no longer knows.

        Args:
            pending: The trials without a record.

        Returns:
            Whether trials are open that an actor's death kept from starting.
        """
        is_unstarted = [self.unstarted[drawn.trial] > 0 for drawn in pending]
        for drawn, unstarted in zip(pending, is_unstarted, strict=True):
            if not unstarted:
                self.end(drawn, ledger.FAILED, "lost", "Ray Tune lost the trial")
        return any(is_unstarted)

    def publish(self, *, last: bool = False) -> None:
        """Bring the published studies up to date.

        They never end a sweep: the ledger can rebuild them. `last`: there is no later chance.
        """
        records = searched(self.records)
        self.study.publish(records)
        self.paths.store.write(self.paths.study, self.study.file.read_bytes())
        if self.shared_study is not None:
            warning = self.shared_study.publish(
                self.config.search_space, records, self.objective, last=last
            )
            if warning:
                log.warning(warning)
        self.published_at = time.monotonic()

    def _report(self, event: TrialEvent) -> None:
        self.progress.count(event)
        now = self.progress.now
        self.metrics.show(now, self.progress.running)
        self.on_event(replace(event, progress=str(now)))

    def _end_as_written(self, drawn: DrawnPoint) -> bool:
        """Record a trial as failed if its worker wrote down why; return whether it did."""
        failure = read_failure(self.paths, drawn.trial)
        if failure is not None:
            self.end(drawn, ledger.FAILED, failure["reason"], failure["detail"])
        return failure is not None

    def _is_trained(self, trial: str) -> bool:
        """Check whether a trial has stored the evaluation after its last step."""
        steps = (metadata["step"] for metadata, _ in stored_evaluations(self.paths, trial))
        last_step = self.config.training.steps(count_trained_pairs(self.paths))
        return bool(max(steps, default=0) >= last_step)

    def _evaluations(self, trial: str) -> tuple[EvaluationRecord, ...]:
        return tuple(
            evaluation_record(metadata, outcomes, self.labels, self.rules.all_violations(outcomes))
            for metadata, outcomes in stored_evaluations(self.paths, trial)
        )


def _error_text(trial: Trial) -> str:
    """Read what Tune wrote on this machine of a trial's errors; its copy in the storage comes
    later."""
    file = trial.error_file
    return Path(file).read_text() if file and Path(file).is_file() else ""


def count_trained_pairs(paths: SweepPaths) -> int:
    """Count the pairs of the train split that have a gradient."""
    report = Prepared.read(paths).reports["train"]
    return int(report["pairs"] - report["indistinct"])
