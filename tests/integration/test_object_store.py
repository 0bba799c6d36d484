"""A sweep whose storage is an object store: S3's own protocol, and a network that breaks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dpo_core.storage.store import Store
from sweeps.run_dir import ledger
from tests.support.driving import Program, end_of, start, wait_for, write_sweep
from tests.support.in_process import command, sweeps_in_process
from tests.support.s3 import BUCKET, Cable, s3_server

pytestmark = pytest.mark.integration

STEPS, EVALUATIONS = 300, 6


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cable]:
    with s3_server() as (cable, env):
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("RAY_ADDRESS", "local")  # whose workers get this environment
        yield cable


@pytest.mark.ray
@pytest.mark.slow
def test_an_object_store_that_is_away_for_a_minute(
    s3: Cable, toy_model: Path, pairs_file: Path, tmp_path: Path
) -> None:
    path, store = sweep_on(s3, toy_model, pairs_file, tmp_path)
    sweep: Program[str] = start("run", str(path), "--id", "away")
    wait_for(lambda: evaluated(store) or sweep.poll() is not None)
    before = evaluated(store)
    s3.cut()
    time.sleep(60)
    assert sweep.poll() is None, end_of(sweep)
    s3.mend()
    assert evaluated(store) <= before + 1, "it waits"
    code, told = end_of(sweep)
    assert code == 0, told
    check_whole(store)


def test_an_object_store_that_is_away_for_some_seconds(
    s3: Cable, toy_model: Path, pairs_file: Path, tmp_path: Path
) -> None:
    path, store = sweep_on(s3, toy_model, pairs_file, tmp_path)

    def be_away() -> tuple[int, int]:
        wait_for(lambda: evaluated(store))
        before = evaluated(store)
        s3.cut()
        time.sleep(4)
        s3.mend()
        return before, evaluated(store)

    with sweeps_in_process(), ThreadPoolExecutor(1) as pool:
        away = pool.submit(be_away)
        done = command("run", str(path), "--id", "away")
        before, after = away.result()
    assert done.returncode == 0, done.stderr
    assert after <= before + 1, "it waits"
    check_whole(store)


def sweep_on(s3: Cable, model: Path, pairs: Path, folder: Path) -> tuple[Path, Store]:
    storage = f"s3://{BUCKET}/runs"
    training = {"max_steps": STEPS, "batch_pairs": 4, "evaluations": EVALUATIONS}
    path = write_sweep(folder, model, pairs, training=training, storage=storage)
    return path, Store.open(f"{storage}/away")


def check_whole(store: Store) -> None:
    records = ledger.read(store, "ledger.jsonl")
    assert [r.status for r in records] == ["finished"] * 2
    steps = list(range(50, STEPS + 1, 50))
    assert [[e.step for e in r.evaluations] for r in records] == [steps] * 2
    assert store.exists("best/README.md")


def evaluated(store: Store) -> int:
    return len([name for name in store.names("outcomes") if name.startswith("t0000")])
