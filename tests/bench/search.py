"""What a sweep's default budget finds: scripted sweeps on three surfaces, really searched and chosen.

Only training is made up: a point's true accuracy is that of the surface, and a seed's scores on the
select split follow from it as in `surfaces.py`, which is an input from outside. The regret of a sweep
is by how much the best point of the surface is better than the one that the sweep chose.
"""

from __future__ import annotations

import importlib.util
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from types import ModuleType
from typing import Any

import numpy as np
from scipy import stats

from sweeps.config.load import parse_sweep
from sweeps.config.schema import SweepConfig
from sweeps.run_dir.ledger import EvaluationRecord, TrialRecord
from sweeps.run_dir.paths import SweepPaths
from sweeps.search.next_point import History, Search, next_point
from sweeps.selection.confirmation import candidate_pools, confirmed, finalists, new_seeds
from sweeps.selection.rule import Candidate, choose
from sweeps.selection.statistics import Groups
from tests.bench.table import Row
from tests.support.outside_inputs import TEST_INPUTS

SURFACES = TEST_INPUTS / "cases" / "surfaces.py"
REPETITIONS = 200
PAIRS = 300
# Points of regret, with 8 trials by TPE from 6 random ones, and then 3 points by 3 seeds.
EARLIER = {"ridge": 3.31, "narrow": 8.59, "plateau": 1.22}
GOALS = {"ridge": 0.75 * 3.31, "narrow": 0.75 * 8.59, "plateau": 1.22}
_STEP = 10
_GROUPS = Groups(np.arange(PAIRS, dtype=np.int64))
_SWEEP = """
name: surfaces
model: {path: none}
data: {path: none.jsonl}
space: lora
training: {max_steps: 10}
"""


@dataclass(frozen=True)
class Regrets:
    """Regrets of many sweeps on one surface, in points."""

    surface: str
    trainings: int
    points: np.ndarray

    @property
    def mean(self) -> float:
        return float(self.points.mean())

    @property
    def standard_error(self) -> float:
        return float(self.points.std(ddof=1) / np.sqrt(len(self.points)))

    def as_dict(self) -> dict[str, Any]:
        return {
            "mean": self.mean,
            "standard_error": self.standard_error,
            "trainings": self.trainings,
            "sweeps": len(self.points),
        }


def measure(
    repetitions: int = REPETITIONS, workers: int = 2, overrides: tuple[str, ...] = ()
) -> dict[str, Regrets]:
    """The regrets of so many sweeps on each surface; empty where the surfaces are absent."""
    if not SURFACES.is_file():
        return {}
    config = settings(overrides)
    trainings = config.planned_trials + config.selection.confirm.trials(config.planned_trials)
    measured = {}
    with ProcessPoolExecutor(workers) as pool:
        for surface in GOALS:
            each = pool.map(regret, repeat(surface), range(repetitions), repeat(overrides))
            measured[surface] = Regrets(surface, trainings, np.array(list(each)))
    return measured


def rows(measured: dict[str, Regrets]) -> list[Row]:
    if not measured:
        return [Row(f"search: skipped, {SURFACES} is absent")]
    return [
        Row(
            f"search: regret on the {name}, {each.trainings} trainings (± {each.standard_error:.2f})",
            each.mean,
            EARLIER[name],
            "points",
            "<=",
            round(GOALS[name], 2),
            "ours",
        )
        for name, each in measured.items()
    ]


def settings(overrides: tuple[str, ...] = ()) -> SweepConfig:
    """The config of a sweep that gives nothing but the preset."""
    return parse_sweep(_SWEEP, source="surfaces", overrides=overrides)


def regret(surface: str, seed: int, overrides: tuple[str, ...] = ()) -> float:
    """Run one sweep; return by how many points the best of the surface beats its winner."""
    return _Sweep(surface, seed, settings((*overrides, f"seed={seed}"))).regret()


class _Sweep:
    def __init__(self, surface: str, seed: int, config: SweepConfig) -> None:
        self.surface, self.config = surface, config
        self.surfaces = _surfaces()
        self.rng = np.random.default_rng([seed, list(GOALS).index(surface)])
        self.difficulty = self.surfaces.split(self.rng, PAIRS)

    def regret(self) -> float:
        records, candidates = self.searched()
        confirm = self.config.selection.confirm
        chosen = finalists(candidates, _GROUPS, confirm.top) if confirm.seeds else []
        for number, seed in enumerate(new_seeds(self.config.seed, confirm.seeds), 1):
            for each in chosen:
                name = SweepPaths.confirmation_name(each.trial, number)
                candidates.append(self.train(name, each.point, seed))
                records.append(TrialRecord(name, each.point, "finished", seed, confirms=each.trial))
        points = confirmed(chosen, candidates, records)
        winner = next(
            winner
            for pool in candidate_pools(points, candidates, records)
            if (winner := choose(pool, _GROUPS).winner)
        )
        best = _best(self.surface)
        return 100 * (best - float(self.surfaces.truth(winner.point, self.surface)))

    def searched(self) -> tuple[list[TrialRecord], list[Candidate]]:
        """The trials of the search, one after the other."""
        config, objective = self.config, self.config.selection.objective
        trials = config.planned_trials
        task = Search(config.search_space, config.search.sampler, config.seed, trials, objective)
        records, candidates = list[TrialRecord](), list[Candidate]()
        for number in range(trials):
            point = next_point(task, number, History(records))
            assert point is not None
            candidate = self.train(SweepPaths.trial_name(number), point, config.seed)
            counts = {objective: {"correct": candidate.scores.sum(), "ties": 0, "total": PAIRS}}
            evaluation = EvaluationRecord(_STEP, 0.0, counts, {}, {"drift_chosen": 0.0})
            records.append(
                TrialRecord(candidate.trial, point, "finished", config.seed, (evaluation,))
            )
            candidates.append(candidate)
        return records, candidates

    def train(self, trial: str, point: Any, seed: int) -> Candidate:
        """What one training with one seed shows: `surfaces.measure`, pair by pair."""
        truth = float(self.surfaces.truth(point, self.surface))
        wanted = np.clip(truth + self.rng.normal(0, 0.007), 0.01, 0.99)
        luck = np.sqrt(0.5) * self.rng.standard_normal(PAIRS)
        scores = (self.difficulty + luck < stats.norm.ppf(wanted)).astype(np.float64)
        # The surfaces say nothing about likelihoods, so no point is preferred for its own.
        return Candidate(trial, _STEP, seed, point, scores, chosen_gain=0.0, drift=0.0)


@cache
def _surfaces() -> ModuleType:
    spec = importlib.util.spec_from_file_location("surfaces", SURFACES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def _best(surface: str) -> float:
    """The best accuracy of a surface, which takes a second to find."""
    return float(_surfaces().best(surface))
