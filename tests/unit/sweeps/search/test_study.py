"""The ledger's trials as an Optuna study in a file."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from sweeps.search.study import distribution, frozen_trial, publish
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
    for upto in (1, 1, 2, 2):
        publish(file, "hh-1", FLAT, records[:upto], OBJECTIVE)
    publish(file, "hh-1", FLAT, [*records, ended("t0002", {**POINT, "beta": 0.2}, 9)], OBJECTIVE)
    study = optuna.load_study(study_name="hh-1", storage=f"sqlite:///{file}")
    assert [t.user_attrs["trial"] for t in study.trials] == ["t0000", "t0001", "t0002"]
    assert TrialState.RUNNING not in {t.state for t in study.trials}
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert study.best_trial.user_attrs["trial"] == "t0002"
    assert study.best_value == 0.95  # (9 + 1/2) / 10
    assert study.best_params["beta"] == 0.2
