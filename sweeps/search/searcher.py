"""Points from Optuna, through Ray's OptunaSearch, with names that survive a restart.

The study of a running sweep lives in memory. What it has learnt is in the ledger, so a resumed
sweep gives the finished trials back to a new study, first runs the points that were drawn but never
finished, and draws the rest.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

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
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        super().__init__(
            space=lambda trial: {"point": space.sample(_draw_from(trial))},
            metric=_alone([METRICS[name] for name in objectives]),
            mode=_alone([MODES[name] for name in objectives]),
            sampler=sampler,
        )
        self._names = [drawn.trial for drawn in unfinished]
        self._next_number, self._seed, self._on_draw = first_number, seed, on_draw
        self._drawn: dict[str, DrawnPoint] = {}
        for record in finished:
            self._ot_study.add_trial(frozen_trial(space, record, objective, objectives))
        for drawn in unfinished:
            self._ot_study.enqueue_trial(space.keys_of(drawn.point))

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """Tune may ask twice for one trial; it gets the same answer."""
        if trial_id not in self._drawn:
            point = super().suggest(trial_id)["point"]
            self._drawn[trial_id] = DrawnPoint(self._take_name(), point, self._seed)
            self._on_draw(self._drawn[trial_id])
        return self._drawn[trial_id].as_dict()

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if METRIC in result:
            super().on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        known = result if result and METRIC in result else None
        super().on_trial_complete(trial_id, known, error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the truth, and a pickle of a study is code when it is read."""

    def _take_name(self) -> str:
        if self._names:
            return self._names.pop(0)
        self._next_number += 1
        return SweepPaths.trial_name(self._next_number - 1)


class FixedPoints(Searcher):  # type: ignore[misc]
    """Hands out the given points, in order, and learns nothing."""

    def __init__(self, points: Sequence[DrawnPoint], on_draw: Callable[[DrawnPoint], None]) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._left, self._on_draw = list(points), on_draw
        self._drawn: dict[str, DrawnPoint] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """Tune may ask twice for one trial; it gets the same answer."""
        if trial_id not in self._drawn:
            if not self._left:
                return str(Searcher.FINISHED)
            self._drawn[trial_id] = self._left.pop(0)
            self._on_draw(self._drawn[trial_id])
        return self._drawn[trial_id].as_dict()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing to learn."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing, as above."""


def make_sampler(
    kind: str, space: Space, seed: int, trials: int = 0
) -> optuna.samplers.BaseSampler:
    """`tpe`, `gp`, `nsga2` or `random`, seeded; `trials` is the length of the search."""
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


def _alone(items: list[str]) -> list[str] | str:
    """The one item without its list, or the list: how Ray tells one objective from several."""
    return items if len(items) > 1 else items[0]


def _draw_from(trial: Any) -> Callable[[str, Axis], Any]:
    def draw(key: str, axis: Axis) -> Any:
        if isinstance(axis, Choice):
            return trial.suggest_categorical(key, axis.values)
        value = trial.suggest_float(key, axis.low, axis.high, log=isinstance(axis, LogUniform))
        # On a log axis Optuna's exp(log(bound)) may miss the bound by one rounding.
        return min(max(value, axis.low), axis.high)

    return draw
