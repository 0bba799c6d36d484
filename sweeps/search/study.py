"""A sweep's trials as an Optuna study: distributions, frozen trials, the published study.db."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search_spaces import Axis, Choice, LogUniform, Space
from sweeps.run_dir.ledger import FAILED, EvaluationRecord, TrialRecord
from sweeps.selection.ordering import best_evaluation

METRIC = "best_accuracy"
"""The accuracy of a trial's best checkpoint so far."""
DIRECTIONS = {"accuracy": "maximize", "drift": "minimize"}
"""Optuna's direction for each of `search.objectives`; drift is the best checkpoint's."""
_WORST_OF = {"maximize": min, "minimize": max}
ACCURACY_ALONE = ("accuracy",)
GENERATION = "NSGAIISampler:generation"
CANNOT_WIN = "cannot_win"
"""The constraint that samplers learn: above 0 for a trial without a checkpoint that can win."""
_UNVIOLATED, _WORST = -1.0, 1.0


class _Params(TypedDict):
    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]


def distribution(axis: Axis) -> BaseDistribution:
    """Return Optuna's distribution of an axis."""
    if isinstance(axis, Choice):
        return CategoricalDistribution(axis.values)
    return FloatDistribution(axis.low, axis.high, log=isinstance(axis, LogUniform))


def frozen_trial(
    space: Space, record: TrialRecord, objective: str, objectives: Sequence[str] = ACCURACY_ALONE
) -> FrozenTrial:
    """Build an Optuna trial of a ledger record.

    Args:
        space: The space that the trial's point was drawn from.
        record: The trial; `best_evaluation` chooses the checkpoint that stands for it.
        objective: The accuracy that decides.
        objectives: What the study optimizes.

    Returns:
        A trial that is COMPLETE with its best checkpoint's values, or FAIL without one. What keeps
        that checkpoint from winning are its constraints.
    """
    best = _standing_for(record, objective)
    # Optuna knows intermediate values of a single objective only.
    intermediate = record.evaluations if len(objectives) == 1 else ()
    trial = create_trial(
        state=TrialState.COMPLETE if best else TrialState.FAIL,
        values=_values(best, objective, objectives) if best else None,
        **_params(space, record.point),
        user_attrs={"trial": record.trial, "status": record.status, "reason": record.reason},
        intermediate_values={e.step: e.accuracy(objective) for e in intermediate},
    )
    for name, number in (best.violations if best else {}).items():
        trial.set_constraint(name, number)
    return trial


def learnt_trials(
    space: Space,
    records: Sequence[TrialRecord],
    objective: str,
    objectives: Sequence[str] = ACCURACY_ALONE,
) -> list[FrozenTrial]:
    """Build the Optuna trials that a sampler learns from.

    Samplers pass over trials that failed, and would draw beside them again. So a failed trial is as
    bad as the worst of the others, and cannot win. The constraint is one number, as a model of each
    would need more trials than there are; it is left out where every trial can win.

    Args:
        space: The space that the points were drawn from.
        records: Trials that have ended, in an order that does not depend on when they did.
        objective: The accuracy that decides.
        objectives: What the study optimizes.

    Returns:
        A COMPLETE trial for each record.
    """
    standing = [_standing_for(record, objective) for record in records]
    values = [_values(best, objective, objectives) for best in standing if best]
    worst = [
        _WORST_OF[DIRECTIONS[name]]((each[i] for each in values), default=0.0)
        for i, name in enumerate(objectives)
    ]
    constrained = any(best is None or not best.can_win for best in standing)
    trials = [
        create_trial(
            values=_values(best, objective, objectives) if best else worst,
            **_params(space, record.point),
            # To a genetic sampler all that is known is one generation, from which to breed.
            system_attrs={GENERATION: 0},
        )
        for record, best in zip(records, standing, strict=True)
    ]
    for trial, best in zip(trials, standing, strict=True):
        if constrained:
            trial.set_constraint(CANNOT_WIN, _violation(best))
    return trials


def running_trial(space: Space, point: Mapping[str, Any]) -> FrozenTrial:
    """Build an Optuna trial of a point that is being trained."""
    return create_trial(state=TrialState.RUNNING, **_params(space, point))


def _standing_for(record: TrialRecord, objective: str) -> EvaluationRecord | None:
    """Return the evaluation that stands for a trial; None when it failed or has none."""
    return None if record.status == FAILED else best_evaluation(record, objective)


def _values(best: EvaluationRecord, objective: str, objectives: Sequence[str]) -> list[float]:
    values = {"accuracy": best.accuracy(objective), "drift": best.drift}
    return [values[name] for name in objectives]


def _violation(best: EvaluationRecord | None) -> float:
    """Return by how much a trial misses being able to win, at most 1; -1 where it can win."""
    if best is None:
        return _WORST
    if best.can_win:
        return _UNVIOLATED
    return min(_WORST, sum(number for number in best.violations.values() if number > 0))


def _params(space: Space, point: Mapping[str, Any]) -> _Params:
    axes, params = space.axis_of_keys(), space.keys_of(point)
    return {
        "params": params,
        "distributions": {key: distribution(axes[key]) for key in params},
    }


class PublishedStudy:
    """A copy of a sweep's trials in a new SQLite file, which `optuna-dashboard` opens.

    The study stays open. Each opening leaves a megabyte and two open files in cycles of references,
    which Python frees late in a process of many objects.
    """

    def __init__(
        self,
        file: Path,
        study_name: str,
        space: Space,
        objective: str,
        objectives: Sequence[str] = ACCURACY_ALONE,
    ) -> None:
        """Note what will be published; the file is made with the first publication.

        Args:
            file: The database, on this machine's own disk; not there yet.
            study_name: The study's name in it.
            space: The space of the sweep.
            objective: The accuracy that decides.
            objectives: What the study optimizes.
        """
        self.file, self._name = file, study_name
        self._space, self._objective, self._objectives = space, objective, objectives
        self._published: set[str] = set()

    @cached_property
    def _study(self) -> optuna.Study:
        return optuna.create_study(
            storage=f"sqlite:///{self.file}",
            study_name=self._name,
            directions=[DIRECTIONS[name] for name in self._objectives],
        )

    def publish(self, records: Sequence[TrialRecord]) -> None:
        """Bring the file up to the trials of the search that have ended, each once."""
        study = self._study  # also without trials: then the file holds an empty study
        for record in records:
            if record.trial not in self._published:
                study.add_trial(
                    frozen_trial(self._space, record, self._objective, self._objectives)
                )
                self._published.add(record.trial)
