"""The next point of a search: a pure function of seed, number and what is on record.

Nothing is carried over from one draw to the next. So a resumed search draws what an uninterrupted one
draws, as long as the same trials have ended before each draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import optuna

from search_spaces import Axis, Choice, LogUniform, Space
from search_spaces.axes import Scalar
from sweeps.run_dir.json_types import Point
from sweeps.run_dir.ledger import TrialRecord
from sweeps.search.samplers import make_sampler, starting_point, starting_points, value_at
from sweeps.search.study import ACCURACY_ALONE, DIRECTIONS, learnt_trials, running_trial

_ATTEMPTS = 4
_LISTED = 10_000  # a finite space of more points is never listed


@dataclass(frozen=True)
class Search:
    """A search: its space, its sampler and its goal."""

    space: Space
    sampler: str
    """`tpe`, `gp`, `nsga2` or `random`."""
    seed: int
    trials: int
    """Its length."""
    objective: str
    """The accuracy that decides."""
    objectives: Sequence[str] = ACCURACY_ALONE
    """What the sampler optimizes: accuracy, or accuracy and drift."""


@dataclass(frozen=True)
class History:
    """Trials on record when a point is drawn."""

    ended: Sequence[TrialRecord] = ()
    """Trials of this search that have ended, failed ones among them."""
    running: Sequence[Point] = ()
    """Points that were drawn and whose trials have not ended."""
    earlier: Sequence[TrialRecord] = ()
    """Trials of earlier searches."""

    @property
    def learnt(self) -> list[TrialRecord]:
        """Return all trials that have ended, whatever the order in which they did."""
        return [*self.earlier, *sorted(self.ended, key=lambda r: (len(r.trial), r.trial))]

    @property
    def drawn(self) -> list[Point]:
        """Return the points that would be trained twice if they were drawn again."""
        return [*(dict(record.point) for record in self.ended), *self.running]


def next_point(search: Search, number: int, history: History) -> Point | None:
    """Draw a point that was not drawn before.

    The first points fill the space evenly. Then a model of what ended trials showed chooses. It may
    choose a point again, on the bound of a range or where there are few points; one that was not
    drawn before then takes its place, at random.

    Args:
        search: What is looked for.
        number: The number of the trial that will run the point.
        history: What is on record.

    Returns:
        The point; None when every point of the space was drawn.
    """
    index = len(history.earlier) + number  # so that no night begins with the points of another
    drawn = history.drawn
    points = chain(_preferred(search, index, history), _others(search, index, drawn))
    return next((point for point in points if point not in drawn), None)


def _preferred(search: Search, index: int, history: History) -> Iterator[Point]:
    """Yield the point that the search would draw, then what it would draw instead."""
    learnt = history.learnt
    if search.sampler != "random" and len(learnt) < starting_points(search.trials):
        yield starting_point(search.space, search.seed, index)
        return
    study = _study(search, learnt, history.running)
    for attempt in range(_ATTEMPTS):
        # A point that is not taken stays in the study as one that runs: the next one keeps away.
        study.sampler = make_sampler(
            search.sampler, search.space, _seed(search, index, attempt), search.trials
        )
        yield search.space.sample(_draw_from(study.ask()))


def _others(search: Search, index: int, drawn: Sequence[Point]) -> Iterator[Point]:
    """Yield points at random; from a space of few points, one that was not drawn before."""
    rng = np.random.default_rng([search.seed, index])
    size = search.space.size
    if size is None or size > _LISTED:
        while True:
            yield search.space.sample(lambda key, axis: value_at(axis, rng.random()))
    left = [point for point in search.space.points() if point not in drawn]
    if left:
        yield left[rng.integers(len(left))]


def _seed(search: Search, index: int, attempt: int) -> int:
    return int(np.random.SeedSequence([search.seed, index, attempt]).generate_state(1)[0])


def _study(search: Search, learnt: Sequence[TrialRecord], running: Sequence[Point]) -> optuna.Study:
    study = optuna.create_study(directions=[DIRECTIONS[name] for name in search.objectives])
    study.add_trials(learnt_trials(search.space, learnt, search.objective, search.objectives))
    study.add_trials(running_trial(search.space, point) for point in running)
    return study


def _draw_from(trial: optuna.Trial) -> Callable[[str, Axis], Scalar]:
    def draw(key: str, axis: Axis) -> Scalar:
        if isinstance(axis, Choice):
            choice: Scalar = trial.suggest_categorical(key, axis.values)
            return choice
        value: float = trial.suggest_float(
            key, axis.low, axis.high, log=isinstance(axis, LogUniform)
        )
        # On a log axis Optuna's exp(log(bound)) may miss the bound by one rounding.
        return min(max(value, axis.low), axis.high)

    return draw
