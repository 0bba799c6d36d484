"""The trials of a sweep, of the search and of the confirmation, run until the ledger holds all.

Tune schedules them; `LedgerCallback` writes down what became of them. A second call goes on where
the first one stopped. Tested in tests/integration/test_sweep.py and test_soak.py.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ray import tune
from ray.tune.search import Searcher

from sweeps.config.schema import SweepConfig
from sweeps.ray_runtime.connect import keep_secrets_in_driver
from sweeps.ray_runtime.failures import raise_error_of_sweep
from sweeps.ray_runtime.lane_client import LaneClient
from sweeps.ray_runtime.resources import driver_bundle
from sweeps.run_dir import json_files
from sweeps.run_dir.json_types import Point
from sweeps.run_dir.ledger import TrialRecord, searched
from sweeps.run_dir.paths import SweepPaths
from sweeps.run_dir.prepared import Prepared
from sweeps.search import warm_start
from sweeps.search.drawn_point import DrawnPoint
from sweeps.search.next_point import Search
from sweeps.search.pending_trials import first_free_number, pending_points, without_record
from sweeps.search.searcher import FixedPoints, SweepSearch
from sweeps.selection.confirmation import new_seeds
from sweeps.selection.rule import Candidate
from sweeps.trials.events import OnTrialEvent
from sweeps.trials.lane_worker import lane_loop
from sweeps.trials.ledger_callback import LedgerCallback, count_trained_pairs
from sweeps.trials.trackers import tracker_callbacks
from sweeps.trials.trainable import TrialSetup, run_trial

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

log = logging.getLogger("dpo_sweeps")

RunOne = Callable[[DrawnPoint, TrialSetup], None]
"""`run_trial`, or what replaces it in a test."""
Trainable = Callable[[dict[str, str | int | Point]], None]
"""Tune's function trainable; its argument is a `DrawnPoint` as a dict."""


def open_lanes(config: SweepConfig, paths: SweepPaths) -> LaneClient | None:
    """Open the lanes of a whole sweep, which start when there is work; None without lanes."""
    if not config.resources.lanes:
        return None
    trials = config.planned_trials
    limit = min(config.search.concurrent, max(trials, config.selection.confirm.trials(trials)))
    return LaneClient.open(lane_loop, limit, paths.sweep_id, paths.train_runs, config.resources)


def run_trials(
    config: SweepConfig,
    paths: SweepPaths,
    prepared: Prepared,
    on_event: OnTrialEvent,
    lanes: LaneClient | None = None,
    run_one: RunOne = run_trial,
) -> list[TrialRecord]:
    """Run the trials of the search. Needs a connected Ray.

    Args:
        config: The sweep's configuration.
        paths: The sweep's folder, where drawn points and records are written.
        prepared: What was prepared for all trials.
        on_event: Called with each event of a trial.
        lanes: Worker groups that stay up between trials; None: each trial has a group of its own.
        run_one: Called for each trial in an actor of its own, which Tune starts again when it dies.

    Returns:
        All records of the ledger, `config.planned_trials` of them of the search.
    """
    callback = LedgerCallback(config, paths, prepared, on_event)
    if callback.records:
        log.info(f"goes on   ({callback.progress.now})")
    trainable = _trainable(config, paths, lanes, run_one)
    is_open = True
    try:
        while is_open:
            unfinished = callback.to_be_run(pending_points(paths, callback.records, config.seed))
            missing = config.planned_trials - len(searched(callback.records))
            if missing <= 0:
                break
            warm = warm_start.read(paths, prepared.weights_sha256)
            searcher = _searcher(config, paths, callback.records, unfinished[:missing], warm)
            scheduler = _scheduler(config, paths, callback, unfinished)
            _fit(config, paths, callback, searcher, missing, trainable, scheduler)
            is_open = callback.close_lost(pending_points(paths, callback.records, config.seed))
    finally:
        callback.publish(last=True)  # also when a kill came between the last record and this
    return callback.records


def confirm_trials(
    config: SweepConfig,
    paths: SweepPaths,
    prepared: Prepared,
    on_event: OnTrialEvent,
    finalists: Sequence[Candidate],
    lanes: LaneClient | None = None,
) -> list[TrialRecord]:
    """Train the points of the finalists again with new seeds. Needs a connected Ray.

    No scheduler stops these trials; one that fails takes nothing else along.

    Args:
        config: The sweep's configuration.
        paths: The sweep's folder, where drawn points and records are written.
        prepared: What was prepared for all trials.
        on_event: Called with each event of a trial.
        finalists: Candidates of the search.
        lanes: Worker groups that stay up between trials; None: each trial has a group of its own.

    Returns:
        All records of the ledger.
    """
    callback = LedgerCallback(config, paths, prepared, on_event, finalists)
    wanted = confirmation_points(config, finalists)
    is_open = True
    while is_open and (missing := callback.to_be_run(without_record(wanted, callback.records))):
        searcher = FixedPoints(missing, lambda drawn: _write_point(paths, drawn))
        _fit(config, paths, callback, searcher, len(missing), _trainable(config, paths, lanes))
        is_open = callback.close_lost(without_record(wanted, callback.records))
    return callback.records


def confirmation_points(config: SweepConfig, finalists: Sequence[Candidate]) -> list[DrawnPoint]:
    """Return every point with the first new seed, then every point with the second, and so on."""
    seeds = new_seeds(config.seed, config.selection.confirm.seeds)
    return [
        DrawnPoint(SweepPaths.confirmation_name(each.trial, number), each.point, seed)
        for number, seed in enumerate(seeds, 1)
        for each in finalists
    ]


def _searcher(
    config: SweepConfig,
    paths: SweepPaths,
    records: Sequence[TrialRecord],
    unfinished: Sequence[DrawnPoint],
    earlier: Sequence[TrialRecord],
) -> SweepSearch:
    """Build the searcher; `records` are those of the ledger, as it grows."""
    search = Search(
        config.search_space,
        config.search.sampler,
        config.seed,
        config.search.trials,
        config.selection.objective,
        config.search.objectives,
    )
    return SweepSearch(
        search,
        records,
        earlier=earlier,
        unfinished=unfinished,
        first_number=first_free_number(paths, searched(records)),
        on_draw=lambda drawn: _write_point(paths, drawn),
    )


def _fit(
    config: SweepConfig,
    paths: SweepPaths,
    callback: LedgerCallback,
    searcher: Searcher,
    trials: int,
    trainable: Trainable,
    scheduler: TrialScheduler | None = None,
) -> None:
    keep_secrets_in_driver()
    tuner = tune.Tuner(
        tune.with_resources(
            trainable, tune.PlacementGroupFactory([driver_bundle(config.resources)])
        ),
        tune_config=tune.TuneConfig(
            num_samples=trials,
            max_concurrent_trials=config.search.concurrent,
            search_alg=searcher,
            scheduler=scheduler,
            reuse_actors=config.resources.lanes,
            trial_name_creator=lambda trial: trial.config["trial"],
            trial_dirname_creator=lambda trial: f"{trial.config['trial']}-{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name=f"tune-{int(time.time())}",
            storage_path=f"{paths.store.uri}/{paths.ray}",
            callbacks=[callback, *tracker_callbacks(config.trackers, config.name, paths.sweep_id)],
            failure_config=tune.FailureConfig(max_failures=config.search.retries),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except tune.TuneError as error:  # Tune's text of what a callback raised
        raise_error_of_sweep(str(error))
        raise


def _trainable(
    config: SweepConfig, paths: SweepPaths, lanes: LaneClient | None, run_one: RunOne = run_trial
) -> Trainable:
    setup = TrialSetup(paths.ref, config.resources, config.search.retries, lanes)

    def dpo_trial(drawn: dict[str, str | int | Point]) -> None:
        run_one(DrawnPoint(**drawn), setup)  # type: ignore[arg-type]

    sweep_id = paths.sweep_id
    serves_more = config.resources.lanes  # Tune hands the next trial to the same actor

    class NamedDriver:
        """Names a trial's driver in the dashboard's list of actors, for as long as it lives."""

        def __init__(self, config: Mapping[str, object], **rest: object) -> None:
            trial = f"{sweep_id}-{config['trial']}"
            self._name = f"{trial} and later trials" if serves_more else trial
            super().__init__(config=config, **rest)  # type: ignore[call-arg]  # of Tune's class

    dpo_trial.__mixins__ = (NamedDriver,)  # type: ignore[attr-defined]
    return dpo_trial


def _scheduler(
    config: SweepConfig,
    paths: SweepPaths,
    callback: LedgerCallback,
    unfinished: Sequence[DrawnPoint],
) -> TrialScheduler | None:
    if config.search.scheduler == "none":
        return None
    from sweeps.trials.asha import ResumableASHA

    steps = config.training.steps(count_trained_pairs(paths))
    grace = max(1, steps // max(2, config.training.evaluations))
    ended = searched(callback.records)
    begun = [callback.record_so_far(drawn) for drawn in unfinished]
    return ResumableASHA(steps, grace, config.selection.objective, ended, begun)


def _write_point(paths: SweepPaths, drawn: DrawnPoint) -> None:
    json_files.POINT.write(paths.store, paths.point(drawn.trial), drawn.as_dict())
