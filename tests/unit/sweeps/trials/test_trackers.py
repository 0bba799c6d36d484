"""Trackers: what a real MLflow keeps, and that none of them can hurt a sweep or give a key away."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from dpo_core.errors import SettingsError
from sweeps.config.load import parse_sweep
from sweeps.config.trackers import TrackerSettings, check_trackers
from sweeps.ray_runtime.connect import keep_secrets_in_driver
from sweeps.trials import trackers
from sweeps.trials.trackers import Tolerated, tracker_callbacks

CANARY = "canary-of-a-tracker"


class Trial:
    """What a tracker asks of a Tune trial."""

    trial_id, local_path, experiment_dir_name = "abc", "/nowhere", "sweep"

    def __init__(self) -> None:
        self.config = {"trial": "t0000", "point": {"beta": 0.1}, "seed": 0}

    def __str__(self) -> str:
        return "t0000"


def test_mlflow_has_each_trial_with_its_point_and_its_accuracies(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    [tracker] = tracker_callbacks(TrackerSettings(mlflow=uri), "hh", "hh-1")
    tracker.setup()
    trial = Trial()
    tracker.on_trial_start(iteration=0, trials=[trial], trial=trial)
    for step, accuracy in ((2, 0.6), (4, 0.7)):
        result = {"accuracy": accuracy, "training_iteration": step // 2, "config": trial.config}
        tracker.on_trial_result(iteration=0, trials=[trial], trial=trial, result=result)
    tracker.on_trial_complete(iteration=0, trials=[trial], trial=trial)
    assert not tracker.failed
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("hh")
    [run] = client.search_runs([experiment.experiment_id])
    assert run.data.tags["sweep"] == "hh-1"
    assert run.data.tags["trial_name"] == "t0000"
    assert run.data.params["point/beta"] == "0.1"
    assert run.data.metrics["accuracy"] == 0.7
    assert run.info.status == "FINISHED"


class Failing:
    """A client whose server is gone after the start."""

    calls = 0

    def setup(self) -> None: ...

    def on_trial_start(self, **_: Any) -> None:
        self.calls += 1
        raise ConnectionError(f"POST https://ann:{CANARY}@mlflow.example/api refused\nand more")


def test_a_tracker_that_fails_is_told_once_and_left_alone(messages: list[str]) -> None:
    client = Failing()
    tracker = Tolerated("mlflow", lambda: client)
    tracker.setup()
    for _ in range(3):
        tracker.on_trial_start(iteration=0, trials=[], trial=None)
    tracker.on_trial_complete(iteration=0, trials=[], trial=None)
    assert client.calls == len(messages) == 1
    assert "trackers.mlflow: ConnectionError" in messages[0]
    assert "goes on without it" in messages[0]
    assert CANARY not in messages[0]


def test_a_tracker_that_cannot_start_is_no_reason_to_stop(messages: list[str]) -> None:
    def fail() -> Any:
        raise RuntimeError("no such server")

    tracker = Tolerated("wandb", fail)
    tracker.setup()
    tracker.on_trial_start(iteration=0, trials=[], trial=None)
    assert "no such server" in messages[0]


def test_every_event_of_tune_is_passed_on() -> None:
    from ray import tune

    heard: list[str] = []

    class Listener:
        def __getattr__(self, name: str) -> Any:
            return lambda *args, **info: heard.append(name)

    tracker = Tolerated("mlflow", Listener)
    tracker.setup()
    events = [name for name in dir(tune.Callback) if name.startswith("on_")]
    for name in events:
        getattr(tracker, name)(iteration=0, trials=[])
    assert heard == ["setup", *events]
    assert len(events) > 8


def test_nothing_of_a_tracker_is_pickled() -> None:
    client = Failing()
    client.key = CANARY  # type: ignore[attr-defined]
    tracker = Tolerated("wandb", lambda: client)
    tracker.setup()
    assert CANARY.encode() not in pickle.dumps(tracker)


def test_the_key_of_wandb_is_out_of_reach_while_its_actor_is_described(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", CANARY)
    with trackers._without("WANDB_API_KEY") as key:
        assert (key, "WANDB_API_KEY" in os.environ) == (CANARY, False)
    assert os.environ["WANDB_API_KEY"] == CANARY


def test_no_key_and_no_package_are_mistakes_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    check_trackers(TrackerSettings(), {})
    check_trackers(TrackerSettings(wandb="p"), {"WANDB_MODE": "offline"})
    check_trackers(TrackerSettings(wandb="p"), {"WANDB_API_KEY": CANARY})
    with pytest.raises(SettingsError, match="there is no WANDB_API_KEY"):
        check_trackers(TrackerSettings(wandb="p"), {})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"dpo-sweeps\[mlflow\]"):
        check_trackers(TrackerSettings(mlflow="http://mlflow:5000"), {})


def test_a_password_in_the_trackers_uri_is_refused_and_not_repeated() -> None:
    sweep = "name: a\nmodel: {path: m}\ndata: {path: p}\nspace: lora\ntraining: {max_steps: 4}\n"
    given = [f"trackers.mlflow=https://ann:{CANARY}@mlflow.example"]
    with pytest.raises(SettingsError, match="MLFLOW_TRACKING_PASSWORD") as told:
        parse_sweep(sweep, source="sweep.yaml", overrides=given)
    assert CANARY not in str(told.value)


def test_tune_copies_no_key_of_the_driver_to_its_actors(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.tune.execution import class_cache

    names = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "RAY_CHDIR_TO_TRIAL_DIR"}
    assert isinstance(class_cache.ENV_VARS_TO_PROPAGATE, set)
    monkeypatch.setattr(class_cache, "ENV_VARS_TO_PROPAGATE", names)
    keep_secrets_in_driver()
    assert names == {"RAY_CHDIR_TO_TRIAL_DIR"}
