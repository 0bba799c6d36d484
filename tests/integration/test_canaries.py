"""Canaries: secrets planted in the environment of a whole sweep are found nowhere afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from sweeps.search.shared_study import open_storage
from tests.support import postgres
from tests.support.cluster import exported_metrics, get, ray_processes
from tests.support.driving import write_sweep

pytestmark = [pytest.mark.ray, pytest.mark.integration]

DATABASE = "cAnArY-of-the-database"
PLANTED = {
    "HF_TOKEN": "hf_cAnArYofthehub",
    "WANDB_API_KEY": "cAnArY" * 6 + "wand",  # as long as a real one
    "MLFLOW_TRACKING_TOKEN": "cAnArY-of-mlflow",
    "AWS_SECRET_ACCESS_KEY": "cAnArY-of-the-object-store",
    "DPO_SWEEPS_WEBHOOK": "https://hooks.example.org/services/cAnArY",
    "PGPASSWORD": DATABASE,
}


@pytest.fixture(scope="module")
def database() -> Iterator[postgres.Server | None]:
    binaries = postgres.find_binaries()
    if binaries is None:
        yield None
        return
    with postgres.running(binaries, DATABASE) as server:
        yield server


@pytest.fixture(scope="module")
def sweep(
    ray_cluster: str,
    database: postgres.Server | None,
    toy_model: Path,
    pairs_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """One trial, with every tracker and a shared study."""
    folder = tmp_path_factory.mktemp("canaries")
    search = {"trials": 1} | ({"study": database.url} if database is not None else {})
    path = write_sweep(
        folder,
        toy_model,
        pairs_file,
        name="canary",
        space={"beta": 0.1, "learning_rate": 0.005, "length_norm": "none"},
        search=search,
        trackers={"mlflow": f"sqlite:///{folder}/mlflow.db", "wandb": "canaries"},
    )
    done = subprocess.run(
        [sys.executable, "-m", "sweeps", "run", str(path), "--id", "canary"],
        capture_output=True,
        text=True,
        timeout=400,
        cwd=folder,
        env={**os.environ, **PLANTED, "WANDB_MODE": "offline"},
    )
    assert done.returncode == 0, done.stderr
    return {"folder": folder, "said": done.stdout + done.stderr, "dashboard": ray_cluster}


def test_no_canary_is_in_any_file_that_the_sweep_left(sweep: dict[str, Any]) -> None:
    """Ledger, outcomes, Tune's pickles, TensorBoard, MLflow, W&B, report; then Ray's session logs."""
    files = [path for path in sweep["folder"].rglob("*") if path.is_file()]
    kinds = {path.name.split(".")[-1] for path in files}
    assert {"jsonl", "pkl", "db", "parquet", "wandb"} <= kinds, "what could hold them is there"
    assert [path for path in files if b"cAnArY" in path.read_bytes()] == []
    logs = [path for path in session_folder().rglob("*") if path.is_file()]
    assert len(logs) > 10
    assert [path for path in logs if b"cAnArY" in path.read_bytes()] == []


def test_no_canary_is_said(sweep: dict[str, Any]) -> None:
    assert "winner" in sweep["said"]
    assert "cAnArY" not in sweep["said"]
    assert "warning: trackers" not in sweep["said"], "both trackers worked"
    assert "warning: search.study" not in sweep["said"]


@pytest.mark.parametrize(
    "page",
    [
        "/api/jobs/",
        "/api/train/v2/runs/v1",
        "/api/v0/actors?detail=1&limit=1000",
        "/logical/actors",
    ],
)
def test_no_canary_is_in_what_the_dashboard_tells(sweep: dict[str, Any], page: str) -> None:
    content = get(sweep["dashboard"] + page)
    json.loads(content)
    assert b"cAnArY" not in content


def test_no_canary_is_in_the_metrics_which_need_no_token(sweep: dict[str, Any]) -> None:
    assert "ray_" in exported_metrics()
    assert "cAnArY" not in exported_metrics()


def test_the_trackers_were_told(sweep: dict[str, Any]) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{sweep['folder']}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("canary").experiment_id])
    [run] = runs
    assert run.data.tags["trial_name"] == "t0000"
    assert run.data.metrics["accuracy"] > 0
    assert list(sweep["folder"].glob("runs/canary/ray/*/t0000-*/events.out.tfevents*"))
    [board] = sweep["folder"].rglob("offline-run-*/*.wandb")
    assert board.stat().st_size > 1000


def test_the_shared_study_was_told(
    sweep: dict[str, Any], database: postgres.Server | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database is None:
        pytest.skip("PostgreSQL is not installed here: apt-get install postgresql")
    monkeypatch.setenv("PGPASSWORD", DATABASE)
    [name] = optuna.get_all_study_names(open_storage(database.url))
    study = optuna.load_study(study_name=name, storage=open_storage(database.url))
    told = {t.user_attrs["trial"]: t.user_attrs["run"] for t in study.trials}
    assert told == {"t0000": "canary"}


def session_folder() -> Path:
    """Of the cluster of this test session, with the logs of all its processes."""
    words = [word for process in ray_processes() for word in process.cmdline()]
    return Path(next(w.split("=")[1] for w in words if w.startswith("--session-dir=")))
