"""A sweep's trials as an Optuna study: distributions, frozen trials, the published study.db."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search_spaces import Axis, Choice, LogUniform, Space
from sweeps.run_dir.ledger import FAILED, TrialRecord
from sweeps.selection.ordering import best_evaluation

METRIC = "best_accuracy"
"""The accuracy of a trial's best checkpoint so far."""
METRICS = {"accuracy": METRIC, "drift": "best_drift"}
"""What a worker reports for each of `search.objectives`; drift is the best checkpoint's."""
MODES = {"accuracy": "max", "drift": "min"}
ACCURACY_ALONE = ("accuracy",)
GENERATION = "NSGAIISampler:generation"


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
        A trial that is COMPLETE with its best checkpoint's values, or FAIL without one.
    """
    axes, params = space.axis_of_keys(), space.keys_of(record.point)
    best = None if record.status == FAILED else best_evaluation(record, objective)
    values = {"accuracy": best.accuracy(objective), "drift": best.drift} if best else {}
    # Optuna knows intermediate values of a single objective only.
    intermediate = record.evaluations if len(objectives) == 1 else ()
    return create_trial(
        state=TrialState.COMPLETE if best else TrialState.FAIL,
        values=[values[name] for name in objectives] if best else None,
        params=params,
        distributions={key: distribution(axes[key]) for key in params},
        user_attrs={"trial": record.trial, "status": record.status, "reason": record.reason},
        intermediate_values={e.step: e.accuracy(objective) for e in intermediate},
        # To a genetic sampler all that a resumed sweep has is one generation, from which to breed.
        system_attrs={GENERATION: 0},
    )


def publish(
    file: Path,
    study_name: str,
    space: Space,
    records: Sequence[TrialRecord],
    objective: str,
    objectives: Sequence[str] = ACCURACY_ALONE,
) -> None:
    """Bring a SQLite study up to the ledger, each trial once; `optuna-dashboard` opens it.

    Args:
        file: The database, on this machine's own disk.
        study_name: The study's name in it.
        space: The space of the sweep.
        records: The trials of the search that have ended.
        objective: The accuracy that decides.
        objectives: What the study optimizes.
    """
    study = optuna.create_study(
        storage=f"sqlite:///{file}",
        study_name=study_name,
        directions=["maximize" if MODES[name] == "max" else "minimize" for name in objectives],
        load_if_exists=True,
    )
    published = {trial.user_attrs.get("trial") for trial in study.get_trials(deepcopy=False)}
    for record in records:
        if record.trial not in published:
            study.add_trial(frozen_trial(space, record, objective, objectives))
