"""Runs the trials of a sweep, of the search and of the confirmation, until the ledger holds all.

Tune schedules; `Book` writes down what happened. A second call goes on where the first stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from sweeps.config.schema import SweepConfig
from sweeps.ray_runtime.connect import keep_keys_home
from sweeps.ray_runtime.lane_client import LaneClient
from sweeps.ray_runtime.resources import driver_bundle
from sweeps.run_dir.ledger import TrialRecord, searched
from sweeps.run_dir.paths import SweepPaths
from sweeps.run_dir.prepared import Prepared
from sweeps.search import warm_start
from sweeps.search.drawn_point import DrawnPoint
from sweeps.search.pending_trials import drawn_but_open, first_free_number, not_ended
from sweeps.search.searcher import TIME, FixedPoints, SweepSearch, make_sampler
from sweeps.search.study import METRIC
from sweeps.selection.confirmation import new_seeds
from sweeps.selection.rule import Candidate
from sweeps.trials.events import Tell
from sweeps.trials.lane_worker import lane_loop
from sweeps.trials.ledger_callback import Book, trained_pairs
from sweeps.trials.trackers import tracker_callbacks
from sweeps.trials.trainable import TrialSetup, run_trial

RunOne = Callable[[DrawnPoint, TrialSetup], None]
"""`run_trial`, or what stands in for it in a test."""


def open_lanes(config: SweepConfig, paths: SweepPaths) -> LaneClient | None:
    """Open the lanes of a whole sweep, which start when there is work; None without lanes."""
    if not config.resources.lanes:
        return None
    trials = config.search.trials
    limit = min(config.search.concurrent, max(trials, config.selection.confirm.trials(trials)))
    return LaneClient.open(lane_loop, limit, paths.sweep_id, paths.train_runs, config.resources)


def run_trials(
    config: SweepConfig,
    paths: SweepPaths,
    prepared: Prepared,
    tell: Tell,
    lanes: LaneClient | None = None,
    run_one: RunOne = run_trial,
) -> list[TrialRecord]:
    """All records, `config.search.trials` of them of the search. Needs a connected Ray.

    `run_one` is called for each trial in an actor of its own, which Tune starts again when it dies.
    """
    book = Book(config, paths, prepared, tell)
    unfinished = book.to_be_run(drawn_but_open(paths, book.records, config.seed))
    known = searched(book.records)
    missing = config.search.trials - len(known)
    try:
        if missing > 0:
            warm = warm_start.read(paths, prepared.weights_sha256)
            searcher = _searcher(config, paths, known, unfinished[:missing], warm)
            trainable = _trainable(config, paths, lanes, run_one)
            _fit(config, paths, book, searcher, missing, trainable, _scheduler(config, paths))
            book.close_lost(drawn_but_open(paths, book.records, config.seed))
    finally:
        book.publish(last=True)  # also when a kill came between the last record and this
    return book.records


def confirm_trials(
    config: SweepConfig,
    paths: SweepPaths,
    prepared: Prepared,
    tell: Tell,
    finalists: Sequence[Candidate],
    lanes: LaneClient | None = None,
) -> list[TrialRecord]:
    """All records, after the points of `finalists` were trained again with new seeds.

    No scheduler stops these trials; one that fails takes nothing else along.
    """
    book = Book(config, paths, prepared, tell, finalists)
    wanted = confirmation_points(config, finalists)
    missing = book.to_be_run(not_ended(wanted, book.records))
    if missing:
        searcher = FixedPoints(missing, lambda drawn: _note_point(paths, drawn))
        _fit(config, paths, book, searcher, len(missing), _trainable(config, paths, lanes))
        book.close_lost(not_ended(wanted, book.records))
    return book.records


def confirmation_points(config: SweepConfig, finalists: Sequence[Candidate]) -> list[DrawnPoint]:
    """Every point with the first new seed, then every point with the second, and so on."""
    seeds = new_seeds(config.seed, config.selection.confirm.seeds)
    return [
        DrawnPoint(SweepPaths.confirmation_name(each.trial, number), each.point, seed)
        for number, seed in enumerate(seeds, 1)
        for each in finalists
    ]


def _searcher(
    config: SweepConfig,
    paths: SweepPaths,
    known: Sequence[TrialRecord],
    unfinished: Sequence[DrawnPoint],
    warm: Sequence[TrialRecord],
) -> SweepSearch:
    space, number = config.search_space, first_free_number(paths, known)
    # A resumed sweep draws on, and a night too, instead of drawing its first points again.
    seed = config.seed + number + len(warm)
    return SweepSearch(
        space,
        make_sampler(config.search.sampler, space, seed, config.search.trials),
        finished=[*warm, *known],
        unfinished=unfinished,
        objective=config.selection.objective,
        first_number=number,
        seed=config.seed,
        on_draw=lambda drawn: _note_point(paths, drawn),
        objectives=config.search.objectives,
    )


def _fit(
    config: SweepConfig,
    paths: SweepPaths,
    book: Book,
    searcher: Searcher,
    trials: int,
    trainable: Callable[[dict[str, Any]], None],
    scheduler: Any = None,
) -> None:
    keep_keys_home()
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
            callbacks=[book, *tracker_callbacks(config.trackers, config.name, paths.sweep_id)],
            failure_config=tune.FailureConfig(max_failures=config.search.retries),
            verbose=0,
        ),
    )
    tuner.fit()


def _trainable(
    config: SweepConfig, paths: SweepPaths, lanes: LaneClient | None, run_one: RunOne = run_trial
) -> Callable[[dict[str, Any]], None]:
    setup = TrialSetup(paths.ref, config.resources, config.search.retries, lanes)

    def dpo_trial(drawn: dict[str, Any]) -> None:
        run_one(DrawnPoint(**drawn), setup)

    return dpo_trial


def _scheduler(config: SweepConfig, paths: SweepPaths) -> Any:
    if config.search.scheduler == "none":
        return None
    from ray.tune.schedulers import ASHAScheduler

    steps = config.training.steps(trained_pairs(paths))
    grace = max(1, steps // max(2, config.training.evaluations))
    # Tune's own iteration count restarts with a trial's driver; optimizer steps do not.
    return ASHAScheduler(
        time_attr=TIME,
        metric=METRIC,
        mode="max",
        max_t=steps,
        grace_period=grace,
        reduction_factor=2,
    )


def _note_point(paths: SweepPaths, drawn: DrawnPoint) -> None:
    paths.store.write(paths.point(drawn.trial), json.dumps(drawn.as_dict()).encode())
