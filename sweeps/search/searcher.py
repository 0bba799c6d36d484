"""Points from Optuna, through Ray's OptunaSearch, with names that survive a restart.

The study of a running sweep is in memory only. What it has learnt is in the ledger, so a resumed
sweep gives the finished trials back to a new study, first runs the points that were drawn but never
finished, and draws the rest.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TypeAlias

import optuna
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from search_spaces import Axis, Choice, LogUniform, Space
from sweeps.run_dir.ledger import TrialRecord
from sweeps.run_dir.paths import SweepPaths
from sweeps.search.drawn_point import DrawnPoint
from sweeps.search.study import ACCURACY_ALONE, METRIC, METRICS, MODES, frozen_trial

# Branches make TPE sample by groups, which Optuna calls experimental; Ray times the sampler.
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
warnings.filterwarnings("ignore", message="Define-by-run function")

TIME = "global_step"

Result: TypeAlias = dict[str, object]
"""What Tune passes on of a trial's report, by name."""


class SweepSearch(OptunaSearch):  # type: ignore[misc]
    """OptunaSearch over a `Space`; a suggestion is a `DrawnPoint` as a dict."""

    def __init__(
        self,
        space: Space,
        sampler: optuna.samplers.BaseSampler,
        *,
        finished: Sequence[TrialRecord],
        unfinished: Sequence[DrawnPoint],
        objective: str,
        first_number: int,
        seed: int,
        on_draw: Callable[[DrawnPoint], None],
        objectives: Sequence[str] = ACCURACY_ALONE,
    ) -> None:
        """Build a study of all that is known, to draw from.

        Args:
            space: Where points are drawn.
            sampler: See `make_sampler`.
            finished: Trials that the sampler learns from.
            unfinished: Points that are suggested first, under their own names.
            objective: The accuracy that decides.
            first_number: The number of the first trial with a new point.
            seed: The seed that each trial gets.
            on_draw: Called with each new suggestion before it runs.
            objectives: What the sampler optimizes: accuracy, or accuracy and drift.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        super().__init__(
            space=lambda trial: {"point": space.sample(_draw_from(trial))},
            metric=_one_or_many([METRICS[name] for name in objectives]),
            mode=_one_or_many([MODES[name] for name in objectives]),
            sampler=sampler,
        )
        self._names = [drawn.trial for drawn in unfinished]
        self._next_number, self._seed, self._on_draw = first_number, seed, on_draw
        self._drawn: dict[str, DrawnPoint] = {}
        for record in finished:
            self._ot_study.add_trial(frozen_trial(space, record, objective, objectives))
        for drawn in unfinished:
            self._ot_study.enqueue_trial(space.keys_of(drawn.point))

    def suggest(self, trial_id: str) -> Result:
        """Return a point to run. Tune may ask twice for one trial; it gets the same answer."""
        if trial_id not in self._drawn:
            point = super().suggest(trial_id)["point"]
            self._drawn[trial_id] = DrawnPoint(self._take_name(), point, self._seed)
            self._on_draw(self._drawn[trial_id])
        return self._drawn[trial_id].as_dict()

    def on_trial_result(self, trial_id: str, result: Result) -> None:
        """Pass an evaluation on to Optuna; other reports have no metric."""
        if METRIC in result:
            super().on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: Result | None = None, error: bool = False
    ) -> None:
        """End a trial of the study.

        Args:
            trial_id: Tune's own id.
            result: The trial's last report.
            error: Whether the trial failed.
        """
        evaluation = result if result and METRIC in result else None
        super().on_trial_complete(trial_id, evaluation, error)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the ledger is the truth, and reading a pickle of a study would run code."""

    def _take_name(self) -> str:
        if self._names:
            return self._names.pop(0)
        self._next_number += 1
        return SweepPaths.trial_name(self._next_number - 1)


class FixedPoints(Searcher):  # type: ignore[misc]
    """A searcher that suggests the given points, in order, and learns nothing."""

    def __init__(self, points: Sequence[DrawnPoint], on_draw: Callable[[DrawnPoint], None]) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._left, self._on_draw = list(points), on_draw
        self._drawn: dict[str, DrawnPoint] = {}

    def suggest(self, trial_id: str) -> Result | str:
        """Return a point to run. Tune may ask twice for one trial; it gets the same answer."""
        if trial_id not in self._drawn:
            if not self._left:
                return str(Searcher.FINISHED)
            self._drawn[trial_id] = self._left.pop(0)
            self._on_draw(self._drawn[trial_id])
        return self._drawn[trial_id].as_dict()

    def on_trial_complete(
        self, trial_id: str, result: Result | None = None, error: bool = False
    ) -> None:
        """Learn nothing.

        Args:
            trial_id: Tune's own id.
            result: The trial's last report.
            error: Whether the trial failed.
        """

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: all points are known beforehand."""


def make_sampler(
    kind: str, space: Space, seed: int, trials: int = 0
) -> optuna.samplers.BaseSampler:
    """Build a seeded sampler.

    Args:
        kind: `tpe`, `gp`, `nsga2` or `random`.
        space: Where points are drawn.
        seed: The same seed draws the same points.
        trials: The length of the search.

    Returns:
        Optuna's sampler.
    """
    if kind == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if kind == "gp":
        return optuna.samplers.GPSampler(seed=seed, deterministic_objective=False)
    if kind == "nsga2":
        # Optuna's 50 would leave a sweep of fewer trials no second generation.
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=max(4, trials // 5))
    startup = max(2, min(10, len(space.names) * 2))
    return optuna.samplers.TPESampler(
        seed=seed, multivariate=True, group=space.is_conditional, n_startup_trials=startup
    )


def _one_or_many(items: list[str]) -> list[str] | str:
    """Return a single item without its list: that is how Ray tells one objective from several."""
    return items if len(items) > 1 else items[0]


def _draw_from(trial: optuna.Trial) -> Callable[[str, Axis], str | int | float | None]:
    def draw(key: str, axis: Axis) -> str | int | float | None:
        if isinstance(axis, Choice):
            choice: str | int | float | None = trial.suggest_categorical(key, axis.values)
            return choice
        value: float = trial.suggest_float(
            key, axis.low, axis.high, log=isinstance(axis, LogUniform)
        )
        # On a log axis Optuna's exp(log(bound)) may miss the bound by one rounding.
        return min(max(value, axis.low), axis.high)

    return draw
