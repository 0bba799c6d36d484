"""The ledger's trials as an Optuna study in a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from sweeps.run_dir.ledger import TrialRecord
from sweeps.search.study import (
    CANNOT_WIN,
    PublishedStudy,
    distribution,
    frozen_trial,
    learnt_trials,
)
from tests.support.searched_trials import FLAT, OBJECTIVE, POINT, ended


def test_each_axis_has_its_distribution() -> None:
    axes = FLAT.axis_of_keys()
    assert {key: distribution(axis) for key, axis in axes.items()} == {
        "beta": FloatDistribution(0.01, 0.5, log=True),
        "learning_rate": FloatDistribution(1e-6, 1e-4, log=True),
        "ld_alpha": FloatDistribution(0, 1),
        "length_norm": CategoricalDistribution(["none", "mean"]),
    }


def test_a_point_that_left_the_space_is_not_taken_in() -> None:
    with pytest.raises(ValueError, match=r"beta: 0\.9 lies outside; give one in log_uniform"):
        frozen_trial(FLAT, ended("t0000", {**POINT, "beta": 0.9}, 7), OBJECTIVE)


@pytest.mark.parametrize("folder", ["plain", "with space 'and' \"quotes\" ü"])
def test_publish_adds_each_trial_once(tmp_path: Path, folder: str) -> None:
    file = tmp_path / folder / "study.db"
    file.parent.mkdir()
    records = [ended("t0000", POINT, 7), ended("t0001", POINT, status="failed")]
    published = PublishedStudy(file, "hh-1", FLAT, OBJECTIVE)
    for upto in (0, 1, 1, 2, 2):
        published.publish(records[:upto])
        assert len(optuna.load_study(study_name="hh-1", storage=f"sqlite:///{file}").trials) == upto
    published.publish([*records, ended("t0002", {**POINT, "beta": 0.2}, 9)])
    study = optuna.load_study(study_name="hh-1", storage=f"sqlite:///{file}")
    assert [t.user_attrs["trial"] for t in study.trials] == ["t0000", "t0001", "t0002"]
    assert TrialState.RUNNING not in {t.state for t in study.trials}
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert study.best_trial.user_attrs["trial"] == "t0002"
    assert study.best_value == 0.95  # (9 + 1/2) / 10
    assert study.best_params["beta"] == 0.2


def judged(trial: str, correct: int, status: str = "finished", **violations: float) -> TrialRecord:
    """A trial whose only checkpoint violates that."""
    record = ended(trial, POINT, correct, status=status)
    evaluations = tuple(replace(e, violations=violations) for e in record.evaluations)
    return replace(record, evaluations=evaluations)


def test_what_the_ledger_knows_is_in_the_published_trial() -> None:
    records = [
        ended("t0000", POINT, 7, 5),
        ended("t0001", POINT, 8, status="failed"),
        ended("t0002", POINT, status="failed"),
        ended("t0003", POINT, 6, status="stopped"),
        judged("t0004", 9, moved=0.2, accuracy=-0.4),
    ]
    trials = [frozen_trial(FLAT, record, OBJECTIVE) for record in records]
    complete, fail = TrialState.COMPLETE, TrialState.FAIL
    assert [t.state for t in trials] == [complete, fail, fail, complete, complete]
    # the best of a trial's checkpoints: (7 + 1/2) / 10, not the last
    assert [t.value for t in trials] == [0.75, None, None, 0.65, 0.95]
    assert trials[0].params == POINT
    assert trials[0].intermediate_values == {4: 0.75, 8: 0.55}
    assert trials[1].user_attrs == {"trial": "t0001", "status": "failed", "reason": None}
    assert [t.constraints for t in trials] == [{}, {}, {}, {}, {"moved": 0.2, "accuracy": -0.4}]


def test_a_sampler_learns_that_failed_trials_are_as_bad_as_the_worst_and_cannot_win() -> None:
    records = [
        ended("t0000", POINT, 7),
        ended("t0001", POINT, 9, status="failed"),
        ended("t0002", POINT, 4),
    ]
    trials = learnt_trials(FLAT, records, OBJECTIVE)
    assert {t.state for t in trials} == {TrialState.COMPLETE}
    assert [t.value for t in trials] == [0.75, 0.45, 0.45]
    assert [t.constraints[CANNOT_WIN] > 0 for t in trials] == [False, True, False]
    both = learnt_trials(FLAT, records, OBJECTIVE, ("accuracy", "drift"))
    assert [t.values for t in both] == [[0.75, 0.1], [0.45, 0.1], [0.45, 0.1]]


def test_a_sampler_learns_which_trials_have_no_checkpoint_that_can_win() -> None:
    records = [
        judged("t0000", 7, moved=-0.3, accuracy=-0.1, guardrails=0.0),
        judged("t0001", 9, moved=0.2, accuracy=0.05, guardrails=0.0),
        judged("t0002", 9, moved=-0.5, accuracy=-0.4, guardrails=2.0),
        ended("t0003", POINT, 8),
    ]
    trials = learnt_trials(FLAT, records, OBJECTIVE)
    assert [t.constraints[CANNOT_WIN] for t in trials] == [-1.0, 0.25, 1.0, -1.0]
    assert [t.value for t in trials] == [0.75, 0.95, 0.95, 0.85]


def test_without_a_violation_there_is_no_constraint_and_without_a_result_no_error() -> None:
    known = [ended("t0000", POINT, 7), judged("t0001", 6, moved=-0.3)]
    assert [t.constraints for t in learnt_trials(FLAT, known, OBJECTIVE)] == [{}, {}]
    failed = [ended("t0000", POINT, status="failed"), ended("t0001", POINT)]
    trials = learnt_trials(FLAT, failed, OBJECTIVE)
    assert [(t.value, t.constraints) for t in trials] == [(0.0, {CANNOT_WIN: 1.0})] * 2


BOTH = ("accuracy", "drift")


def test_the_published_study_knows_both_objectives(tmp_path: Path) -> None:
    finished = [ended("t0000", POINT, 7, 8), ended("t0001", POINT, 8, status="failed")]
    expected = [[0.85, 0.2], None]  # the best checkpoint's accuracy, and its own drift
    file = tmp_path / "study.db"
    published = PublishedStudy(file, "hh-1", FLAT, OBJECTIVE, BOTH)
    for upto in (1, 2, 2):
        published.publish(finished[:upto])
    study = optuna.load_study(study_name="hh-1", storage=f"sqlite:///{file}")
    assert [t.values for t in study.trials] == expected
    assert [t.user_attrs["trial"] for t in study.best_trials] == ["t0000"]
