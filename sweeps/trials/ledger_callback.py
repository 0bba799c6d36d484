"""Keeps a sweep's ledger while Tune runs: its events become records, retention and what is told."""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ray import tune

from dpo_core.hyperparams import DPOHyperparams
from dpo_core.training.checkpoints import versions
from sweeps.config.schema import SweepConfig
from sweeps.ray_runtime.failures import failure_of, reason_of, stop_for_storage
from sweeps.run_dir import ledger
from sweeps.run_dir.ledger import EvaluationRecord, TrialRecord, evaluation_record, searched
from sweeps.run_dir.outcome_files import stored_evaluations
from sweeps.run_dir.paths import SweepPaths
from sweeps.run_dir.prepared import Prepared, read_labels
from sweeps.search import study
from sweeps.search.drawn_point import DrawnPoint
from sweeps.search.pending_trials import delete_torn_outcomes, drawn_row, not_ended
from sweeps.search.shared_study import SharedStudy, study_name
from sweeps.search.study import METRIC
from sweeps.selection.candidates import CandidateReader
from sweeps.selection.confirmation import confirmed
from sweeps.selection.rule import Candidate, can_still_win
from sweeps.trials.events import Happening, Tell
from sweeps.trials.metrics import SweepGauges

log = logging.getLogger("dpo_sweeps")

# A tenth of a second goes into bringing the study up to date, whose readers are people.
_PUBLISH_EVERY_S = 10.0


class Book(tune.Callback):  # type: ignore[misc]
    """Tune's events become ledger records, retention and what the terminal tells."""

    def __init__(
        self,
        config: SweepConfig,
        paths: SweepPaths,
        prepared: Prepared,
        tell: Tell,
        finalists: Sequence[Candidate] = (),
    ) -> None:
        self.config, self.paths = config, paths
        self.finalists = finalists  # points of the search that are trained again
        self.objective = config.selection.objective
        self.mean_tokens = float(prepared.reports["train"]["mean_response_tokens"])
        self.records = ledger.read(paths.store, paths.ledger)
        self.gauges = SweepGauges(paths.sweep_id, self.records, self.objective)
        self.tell_people = tell
        url = config.search.study
        self.shared = (
            None if url is None else SharedStudy(url, study_name(config, prepared), paths.sweep_id)
        )
        self.labels = read_labels(paths, "select")
        self.reader = CandidateReader(paths, config.selection)
        self.running: dict[str, float] = {}
        self.published = -_PUBLISH_EVERY_S
        self.scratch = tempfile.TemporaryDirectory(prefix="dpo-sweeps-")

    def tell(self, happening: Happening) -> None:
        self.gauges.follow(happening)
        self.tell_people(happening)

    def __getstate__(self) -> dict[str, Any]:
        """Empty: Tune pickles its callbacks for a restore that we never use."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        drawn = DrawnPoint(**trial.config)
        if drawn.trial not in self.running:  # Tune starts a trial again after a death
            self.running[drawn.trial] = time.monotonic()
            self.tell(Happening("started", drawn.trial, dict(drawn.point), {}))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        if METRIC not in result:
            return
        self.tell(Happening("evaluated", trial.config["trial"], trial.config["point"], result))
        self.clear_checkpoints()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        drawn = DrawnPoint(**trial.config)
        self.end(drawn, ledger.FINISHED if self._is_trained(drawn.trial) else ledger.STOPPED)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        stop_for_storage(_last_words(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        stop_for_storage(_last_words(trial))
        drawn = DrawnPoint(**trial.config)
        if not self._end_as_noted(drawn):
            error = trial.get_error() or RuntimeError("the trial's driver died")
            self.end(drawn, ledger.FAILED, *reason_of(error))

    def to_be_run(self, open_points: Sequence[DrawnPoint]) -> list[DrawnPoint]:
        """Those without an end. A kill between a trial's end and its record leaves the record to us:
        what was trained to its end is never trained again."""
        for drawn in open_points:
            delete_torn_outcomes(self.paths, drawn.trial)
            if not self._end_as_noted(drawn) and self._is_trained(drawn.trial):
                self.end(drawn, ledger.FINISHED)
        return not_ended(open_points, self.records)

    def _end_as_noted(self, drawn: DrawnPoint) -> bool:
        """Whether a worker wrote down why the trial failed; then that is its end."""
        known = failure_of(self.paths, drawn.trial)
        if known is not None:
            self.end(drawn, ledger.FAILED, known["reason"], known["detail"])
        return known is not None

    def _is_trained(self, trial: str) -> bool:
        wanted = self.config.training.steps(trained_pairs(self.paths))
        return (
            max((about["step"] for about, _ in stored_evaluations(self.paths, trial)), default=0)
            >= wanted
        )

    def end(
        self, drawn: DrawnPoint, status: str, reason: str | None = None, detail: str | None = None
    ) -> None:
        """Write the record of a trial, once."""
        trial, point = drawn.trial, dict(drawn.point)
        if any(record.trial == trial for record in self.records):
            return
        record = TrialRecord(
            trial=trial,
            point=point,
            status=status,
            seed=drawn.seed,
            evaluations=self._evaluations(trial),
            reason=reason,
            detail=detail,
            seconds=round(time.monotonic() - self.running.pop(trial, time.monotonic()), 3),
            ended=datetime.now(UTC).isoformat(timespec="seconds"),
            loss_beta=DPOHyperparams.from_point(point).loss_beta(self.mean_tokens),
            versions=versions(),
            confirms=self.paths.confirms(trial),
        )
        ledger.append(self.paths.store, self.paths.ledger, record)
        self.records.append(record)
        if time.monotonic() >= self.published + _PUBLISH_EVERY_S:
            self.publish()
        self.clear_checkpoints()
        self.tell(Happening(status, trial, point, {"record": record}, reason))

    def close_lost(self, open_points: Sequence[DrawnPoint]) -> None:
        """Nothing that was started may be missing from the ledger, whatever Tune forgot."""
        for drawn in open_points:
            self.end(drawn, ledger.FAILED, "lost", "Ray Tune lost the trial")

    def publish(self, *, last: bool = False) -> None:
        """The derived studies. They never cost a trial: the ledger can rebuild them."""
        # SQLite needs a file of its own machine, and no ? or % in its name.
        file = Path(self.scratch.name) / self.paths.study
        space, known = self.config.search_space, searched(self.records)
        study.publish(
            file,
            self.paths.sweep_id,
            space,
            known,
            self.objective,
            self.config.search.objectives,
        )
        self.paths.store.write(self.paths.study, file.read_bytes())
        if self.shared is not None:
            warning = self.shared.publish(space, known, self.objective, last=last)
            if warning:
                log.warning(warning)
        self.published = time.monotonic()

    def clear_checkpoints(self) -> None:
        """Only what can still win, or still be continued, stays on disk."""
        trained = self.paths.store.names(self.paths.checkpoints)
        ended = {record.trial for record in self.records}
        unended = [trial for trial in trained if trial not in ended]
        keep = self._can_win([*self.records, *filter(None, map(self._so_far, unended))])
        for trial in trained:
            steps = self.paths.checkpoint_steps(trial)
            if trial in unended:
                # The newest may lack its outcomes yet, or be damaged: then the one before it serves.
                keep |= {(trial, step) for step in steps[-2:]}
            elif not any((trial, step) in keep for step in steps):
                self.paths.store.delete(f"{self.paths.checkpoints}/{trial}")
                continue
            for step in steps:
                if (trial, step) not in keep:
                    self.paths.store.delete(self.paths.checkpoint(trial, step))

    def _can_win(self, records: Sequence[TrialRecord]) -> set[tuple[str, int]]:
        """(trial, step) of what the search may choose, and of the seed of each confirmed point that
        stands for it."""
        spares = self.config.selection.keep_checkpoints
        pool = self.reader.candidates(searched(records))
        points = confirmed(self.finalists, self.reader.candidates(records), records)
        averaged = {p.averaged.checkpoint for p in points if p.averaged}
        return averaged | can_still_win(pool, self.reader.groups, spares)

    def _so_far(self, trial: str) -> TrialRecord | None:
        """What stands for election needs no more of an evaluation than its step."""
        steps = [step for step, _ in self.paths.evaluations_of(trial)]
        row = drawn_row(self.paths, trial)
        if row is None:
            return None
        return TrialRecord(
            trial,
            row["point"],
            "running",
            row.get("seed", self.config.seed),
            tuple(EvaluationRecord(step, math.nan, {}, {}, {}) for step in steps),
            confirms=self.paths.confirms(trial),
        )

    def _evaluations(self, trial: str) -> tuple[EvaluationRecord, ...]:
        found = stored_evaluations(self.paths, trial)
        return tuple(evaluation_record(m, o, self.labels) for m, o in found)


def _last_words(trial: Any) -> str:
    """What Tune noted on this machine of a trial's errors; the copy in the storage comes later."""
    file = trial.error_file
    return Path(file).read_text() if file and Path(file).is_file() else ""


def trained_pairs(paths: SweepPaths) -> int:
    """Those of the train split that have a gradient."""
    report = Prepared.read(paths).reports["train"]
    return int(report["pairs"] - report["indistinct"])
