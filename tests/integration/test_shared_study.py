"""The study that sweeps share: in a real PostgreSQL, and in a file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest

from dpo_core.errors import SettingsError
from search_spaces import load_space
from sweeps.config.load import parse_sweep
from sweeps.config.schema import SweepConfig
from sweeps.config.study import check_study_driver, check_study_url
from sweeps.run_dir.ledger import FAILED, FINISHED, EvaluationRecord, TrialRecord
from sweeps.run_dir.prepared import Prepared
from sweeps.search.shared_study import SharedStudy, open_storage, study_name
from tests.support import postgres

CANARY = "canary-of-the-database"
SPACE = load_space(
    {"beta": {"log_uniform": [0.01, 0.5]}, "length_norm": {"choice": ["none", "mean"]}}
)
METRIC = "reward_accuracy"
HEALTH = {"drift_chosen": 0.0, "drift_rejected": 0.0}


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    binaries = postgres.find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed here: apt-get install postgresql")
    with postgres.running(binaries, CANARY) as found:
        yield found


@pytest.fixture
def database(server: postgres.Server, monkeypatch: pytest.MonkeyPatch) -> postgres.Server:
    monkeypatch.setenv("PGPASSWORD", CANARY)
    return server


def record(number: int, correct: int | None = 6) -> TrialRecord:
    counts = {METRIC: {"correct": correct, "ties": 0, "total": 10}}
    done = () if correct is None else (EvaluationRecord(4, 0.5, counts, {}, HEALTH),)
    status = FAILED if correct is None else FINISHED
    point = {"beta": 0.02 * (number + 1), "length_norm": "mean"}
    return TrialRecord(f"t{number:04d}", point, status, 0, evaluations=done)


def keys(url: str, name: str) -> list[tuple[str, str]]:
    study = optuna.load_study(study_name=name, storage=open_storage(url))
    assert all(trial.state.is_finished() for trial in study.trials)
    return sorted((t.user_attrs["run"], t.user_attrs["trial"]) for t in study.trials)


def check_once_each(url: str, name: str) -> None:
    """Published again and again, by a resumed run too, and by another: every trial once."""
    records = [record(0), record(1, None), record(2)]
    first = SharedStudy(url, name, "night-1")
    for count in (1, 1, 2):
        assert first.publish(SPACE, records[:count], METRIC) is None
    assert SharedStudy(url, name, "night-1").publish(SPACE, records, METRIC) is None
    assert SharedStudy(url, name, "night-2").publish(SPACE, records[:1], METRIC) is None
    trials = ["t0000", "t0001", "t0002"]
    assert keys(url, name) == [*(("night-1", trial) for trial in trials), ("night-2", "t0000")]
    study = optuna.load_study(study_name=name, storage=open_storage(url))
    states = {t.user_attrs["trial"]: t.state.name for t in study.trials}
    assert states == {"t0000": "COMPLETE", "t0001": "FAIL", "t0002": "COMPLETE"}
    assert study.best_value == 0.6


def test_in_postgresql_every_trial_is_there_once(database: postgres.Server) -> None:
    check_once_each(database.url, "once")


def test_two_sweeps_that_publish_at_once_lose_nothing(database: postgres.Server) -> None:
    """Into one study, which neither finds there."""
    runs = [f"night-{number}" for number in range(4)]
    studies = [SharedStudy(database.url, "at once", run) for run in runs]
    records = [record(number) for number in range(3)]
    with ThreadPoolExecutor(len(runs)) as pool:
        told = list(pool.map(lambda s: s.publish(SPACE, records, METRIC), studies))
    assert told == [None] * len(runs)
    assert keys(database.url, "at once") == [(run, r.trial) for run in runs for r in records]


def test_without_the_password_there_is_a_warning_and_no_study(
    server: postgres.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "canary-of-a-wrong-password")
    warning = SharedStudy(server.url, "wrong", "run").publish(SPACE, [record(0)], METRIC)
    assert warning is not None
    assert "password authentication failed" in warning
    assert "canary" not in warning


def test_a_database_that_comes_back_gets_what_it_missed(database: postgres.Server) -> None:
    now = [0.0]
    study = SharedStudy(database.url, "away", "run", clock=lambda: now[0])
    assert study.publish(SPACE, [record(0)], METRIC) is None
    database.control("stop", "-m", "immediate")
    try:
        started = time.monotonic()
        warning = study.publish(SPACE, [record(0), record(1)], METRIC)
        assert warning is not None
        assert "is not up to date" in warning
        assert time.monotonic() - started < 30
        assert study.publish(SPACE, [record(0), record(1)], METRIC) is None, (
            "left alone for a while"
        )
        assert study.publish(SPACE, [record(0), record(1)], METRIC, last=True), "but not at the end"
    finally:
        database.control("start")
    now[0] += 120.0
    assert study.publish(SPACE, [record(0), record(1)], METRIC) is None
    assert keys(database.url, "away") == [("run", "t0000"), ("run", "t0001")]


@pytest.mark.parametrize("form", ["journal://{}/study.log", "sqlite:///{}/study.db"])
def test_in_a_file_every_trial_is_there_once(tmp_path: Path, form: str) -> None:
    check_once_each(check_study_url(form.format(tmp_path)), "once")


SWEEP = """
name: hh
model: {path: org/model}
data: {path: pairs.jsonl}
space: lora
training: {max_steps: 4}
"""


def config(*overrides: str) -> SweepConfig:
    return parse_sweep(SWEEP, source="sweep.yaml", overrides=overrides)


def test_sweeps_share_a_study_only_when_they_can_be_compared() -> None:
    prepared = Prepared("data", "weights", "tokenizer", {}, {}, {})
    name = study_name(config(), prepared)
    assert name == study_name(config("search.trials=50", "search.sampler=gp"), prepared)
    for change in ("seed=1", "space=full", "selection.objective=likelihood_accuracy"):
        adapter = ["model.adapter=null"] if "full" in change else []
        assert study_name(config(change, *adapter), prepared) != name
    assert study_name(config(), Prepared("other", "weights", "tokenizer", {}, {}, {})) != name


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        (f"postgresql://ann:{CANARY}@db/study", "PGPASSWORD"),
        (f"postgresql://ann@db/study?password={CANARY}", "PGPASSWORD"),
        (f"mysql://ann:{CANARY}@db/study", "PGPASSWORD"),
        ("postgresql://db", "is no study"),
        ("sqlite:///relative.db", "is no study"),
        ("study.db", "is no study"),
    ],
)
def test_a_wrong_study_is_a_mistake_that_repeats_no_password(url: str, rule: str) -> None:
    with pytest.raises(SettingsError, match=rule) as told:
        config(f"search.study={url}")
    assert CANARY not in str(told.value)


def test_a_missing_driver_is_said_before_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    check_study_driver(None)
    check_study_driver("journal:///shared/study.log")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"dpo-sweeps\[postgres\]"):
        check_study_driver("postgresql://ann@db/study")
