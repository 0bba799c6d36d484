"""Runs the trials of a sweep until the ledger holds all of them, and keeps the ledger.

Tune schedules; what happened is read back from the sweep's folder and written to the ledger as
each trial ends. A second call goes on where the first stopped.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
from ray import tune

from dpo_core.checkpoints import versions
from dpo_core.hyperparams import DPOHyperparams
from sweeps.config import SweepConfig
from sweeps.contenders import Field
from sweeps.paths import SweepPaths
from sweeps.prepare import Prepared, read_labels
from sweeps.records import ledger
from sweeps.records.choice import can_still_win
from sweeps.records.evaluations import evaluation_record
from sweeps.records.ledger import EvaluationRecord, TrialRecord
from sweeps.tuning import lanes as lane_module
from sweeps.tuning import search
from sweeps.tuning.failures import failure_of, reason_of
from sweeps.tuning.lane_worker import lane_loop
from sweeps.tuning.search import METRIC, TIME, DrawnPoint
from sweeps.tuning.trial import run_trial
from sweeps.tuning.worker import stored


@dataclass(frozen=True)
class Happening:
    """What the terminal may tell: kind is started, evaluated, finished, stopped or failed."""

    kind: str
    trial: str
    point: dict[str, Any]
    metrics: dict[str, Any]
    reason: str | None = None


Tell = Callable[[Happening], None]

# A trial's driver only waits for its workers, so it takes no CPU from them; Ray refuses a bundle
# of nothing at all, hence one byte.
_DRIVER = {"CPU": 0, "memory": 1}

# A tenth of a second goes into bringing the study up to date, whose readers are people.
_PUBLISH_EVERY_S = 10.0


def open_lanes(config: SweepConfig, paths: SweepPaths) -> Any:
    """Worker groups for the whole sweep, which start when there is work; None without lanes."""
    if not config.resources.lanes:
        return None
    limit = min(config.search.concurrent, config.search.trials)
    return lane_module.open_lanes(
        lane_loop, limit, paths.sweep_id, paths.train_runs, config.resources
    )


def close_lanes(lanes: Any) -> None:
    if lanes is not None:
        with contextlib.suppress(ray.exceptions.RayActorError):
            ray.get(lanes.close.remote())


def run_trials(
    config: SweepConfig, paths: SweepPaths, prepared: Prepared, tell: Tell, lanes: Any = None
) -> list[TrialRecord]:
    """All records of the sweep, `config.search.trials` of them. Needs a connected Ray."""
    book = _Book(config, paths, prepared, tell)
    unfinished = drawn_but_open(paths, book.records)
    missing = config.search.trials - len(book.records)
    if missing > 0:
        try:
            _fit(config, paths, book, unfinished[:missing], missing, lanes)
            book.close_orphans()
        finally:
            book.publish()
    return book.records


def drawn_but_open(paths: SweepPaths, records: Sequence[TrialRecord]) -> list[DrawnPoint]:
    """Points that were drawn before a stop and have no record: they run first."""
    ended = {record.trial for record in records}
    names = [name.removesuffix(".json") for name in paths.store.names(paths.trials)]
    rows = [json.loads(paths.store.read(paths.point(n))) for n in names if n not in ended]
    return [DrawnPoint(row["trial"], row["point"]) for row in rows]


def _fit(
    config: SweepConfig,
    paths: SweepPaths,
    book: _Book,
    unfinished: list[DrawnPoint],
    missing: int,
    lanes: Any,
) -> None:
    space = config.search_space
    searcher = search.SweepSearch(
        space,
        # A resumed sweep draws on, instead of drawing its first points again.
        search.make_sampler(config.search.sampler, space, config.seed + len(book.records)),
        finished=book.records,
        unfinished=unfinished,
        objective=config.selection.objective,
        first_number=paths.next_number(),
        on_draw=lambda drawn: _note_point(paths, drawn),
    )
    tuner = tune.Tuner(
        tune.with_resources(
            _trainable(config, paths, lanes), tune.PlacementGroupFactory([_DRIVER])
        ),
        tune_config=tune.TuneConfig(
            num_samples=missing,
            max_concurrent_trials=config.search.concurrent,
            search_alg=searcher,
            scheduler=_scheduler(config, paths),
            metric=METRIC,
            mode="max",
            reuse_actors=lanes is not None,
            trial_name_creator=lambda trial: trial.config["trial"],
            trial_dirname_creator=lambda trial: f"{trial.config['trial']}-{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name=f"tune-{int(time.time())}",
            storage_path=f"{paths.store.uri}/{paths.ray}",
            callbacks=[book],
            failure_config=tune.FailureConfig(max_failures=config.search.retries),
            verbose=0,
        ),
    )
    tuner.fit()


def _trainable(
    config: SweepConfig, paths: SweepPaths, lanes: Any
) -> Callable[[dict[str, Any]], None]:
    settings: dict[str, Any] = {
        "storage": paths.storage.uri,
        "sweep_id": paths.sweep_id,
        "seed": config.seed,
        "resources": config.resources,
        "retries": config.search.retries,
        "lanes": lanes,
    }

    def dpo_trial(point: dict[str, Any]) -> None:
        run_trial(point, **settings)

    return dpo_trial


def _scheduler(config: SweepConfig, paths: SweepPaths) -> Any:
    if config.search.scheduler == "none":
        return None
    from ray.tune.schedulers import ASHAScheduler

    steps = config.training.steps(_trained_pairs(paths))
    grace = max(1, steps // max(2, config.training.evaluations))
    # Tune's own iteration count restarts with a trial's driver; optimizer steps do not.
    return ASHAScheduler(time_attr=TIME, max_t=steps, grace_period=grace, reduction_factor=2)


def _note_point(paths: SweepPaths, drawn: DrawnPoint) -> None:
    row = {"trial": drawn.trial, "point": dict(drawn.point)}
    paths.store.write(paths.point(drawn.trial), json.dumps(row).encode())


class _Book(tune.Callback):  # type: ignore[misc]
    """Tune's events become ledger records, retention and what the terminal tells."""

    def __init__(
        self, config: SweepConfig, paths: SweepPaths, prepared: Prepared, tell: Tell
    ) -> None:
        self.config, self.paths, self.tell = config, paths, tell
        self.objective = config.selection.objective
        self.mean_tokens = float(prepared.reports["train"]["mean_response_tokens"])
        self.records = ledger.read(paths.store, paths.ledger)
        self.labels = read_labels(paths, "select")
        self.field = Field(paths, config.selection)
        self.running: dict[str, float] = {}
        self.published = -_PUBLISH_EVERY_S
        self.scratch = tempfile.TemporaryDirectory(prefix="dpo-sweeps-")

    def __getstate__(self) -> dict[str, Any]:
        """Empty: Tune pickles its callbacks for a restore that we never use."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        name, point = trial.config["trial"], trial.config["point"]
        if name not in self.running:  # Tune starts a trial again after a death
            self.running[name] = time.monotonic()
            self.tell(Happening("started", name, point, {}))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        if METRIC not in result:
            return
        self.tell(Happening("evaluated", trial.config["trial"], trial.config["point"], result))
        self.clear_checkpoints()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        name = trial.config["trial"]
        wanted = self.config.training.steps(_trained_pairs(self.paths))
        reached = max((step for step, _ in self.paths.evaluations_of(name)), default=0)
        status = ledger.FINISHED if reached >= wanted else ledger.STOPPED
        self.end(name, trial.config["point"], status)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        known = failure_of(self.paths, trial.config["trial"])
        if known is None:
            reason, detail = reason_of(trial.get_error() or RuntimeError("the trial's driver died"))
        else:
            reason, detail = known["reason"], known["detail"]
        self.end(trial.config["trial"], trial.config["point"], ledger.FAILED, reason, detail)

    def end(
        self,
        trial: str,
        point: dict[str, Any],
        status: str,
        reason: str | None = None,
        detail: str | None = None,
    ) -> None:
        """Write the record of a trial, once."""
        if any(record.trial == trial for record in self.records):
            return
        record = TrialRecord(
            trial=trial,
            point=dict(point),
            status=status,
            seed=self.config.seed,
            evaluations=self._evaluations(trial),
            reason=reason,
            detail=detail,
            seconds=round(time.monotonic() - self.running.pop(trial, time.monotonic()), 3),
            ended=datetime.now(UTC).isoformat(timespec="seconds"),
            loss_beta=DPOHyperparams.from_point(point).loss_beta(self.mean_tokens),
            versions=versions(),
        )
        ledger.append(self.paths.store, self.paths.ledger, record)
        self.records.append(record)
        if time.monotonic() >= self.published + _PUBLISH_EVERY_S:
            self.publish()
        self.clear_checkpoints()
        self.tell(Happening(status, trial, dict(point), {"record": record}, reason))

    def close_orphans(self) -> None:
        """Nothing that was started may be missing from the ledger, whatever Tune forgot."""
        for drawn in drawn_but_open(self.paths, self.records):
            self.end(
                drawn.trial, dict(drawn.point), ledger.FAILED, "lost", "Ray Tune lost the trial"
            )

    def publish(self) -> None:
        """The derived SQLite study. It never costs a trial: the ledger can rebuild it."""
        # SQLite needs a file of its own machine, and no ? or % in its name.
        file = Path(self.scratch.name) / self.paths.study
        space = self.config.search_space
        search.publish(file, self.paths.sweep_id, space, self.records, self.objective)
        self.paths.store.write(self.paths.study, file.read_bytes())
        self.published = time.monotonic()

    def clear_checkpoints(self) -> None:
        """Only what can still win, or still be continued, stays on disk."""
        pool = self.field.contenders([*self.records, *map(self._so_far, self.running)])
        keep = can_still_win(pool, self.field.groups, self.config.selection.keep_checkpoints)
        for trial in self.paths.store.names(self.paths.checkpoints):
            steps = self.paths.checkpoint_steps(trial)
            if trial in self.running and steps:
                keep.add((trial, steps[-1]))
            for step in steps:
                if (trial, step) not in keep:
                    self.paths.store.delete(self.paths.checkpoint(trial, step))

    def _so_far(self, trial: str) -> TrialRecord:
        return TrialRecord(trial, {}, "running", self.config.seed, self._evaluations(trial))

    def _evaluations(self, trial: str) -> tuple[EvaluationRecord, ...]:
        found = stored(self.paths, trial)
        return tuple(evaluation_record(m, o, self.labels) for m, o in found)


def _trained_pairs(paths: SweepPaths) -> int:
    report = Prepared.read(paths).reports["train"]
    return int(report["pairs"] - report["indistinct"])
