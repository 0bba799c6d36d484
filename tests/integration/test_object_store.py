"""A sweep whose storage is an object store: S3's own protocol, and a network that breaks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpo_core.storage.store import Store
from sweeps.run_dir import ledger
from tests.support.driving import Program, end_of, start, wait_for, write_sweep
from tests.support.s3 import BUCKET, Cable, s3_server

pytestmark = [pytest.mark.ray, pytest.mark.integration]

AWAY_S = 60
STEPS, EVALUATIONS = 300, 6


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cable]:
    with s3_server() as (cable, env):
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("RAY_ADDRESS", "local")  # whose workers get this environment
        yield cable


def test_an_object_store_that_is_away_for_a_minute(
    s3: Cable, toy_model: Path, pairs_file: Path, tmp_path: Path
) -> None:
    storage = f"s3://{BUCKET}/runs"
    training = {"max_steps": STEPS, "batch_pairs": 4, "evaluations": EVALUATIONS}
    path = write_sweep(tmp_path, toy_model, pairs_file, training=training, storage=storage)
    store = Store.open(f"{storage}/away")
    sweep: Program[str] = start("run", str(path), "--id", "away")
    wait_for(lambda: _evaluated(store) or sweep.poll() is not None)
    before = _evaluated(store)
    s3.cut()
    time.sleep(AWAY_S)
    assert sweep.poll() is None, end_of(sweep)
    s3.mend()
    assert _evaluated(store) <= before + 1, "it waits"
    code, told = end_of(sweep)
    assert code == 0, told
    records = ledger.read(store, "ledger.jsonl")
    assert [r.status for r in records] == ["finished"] * 2
    steps = list(range(50, STEPS + 1, 50))
    assert [[e.step for e in r.evaluations] for r in records] == [steps] * 2
    assert store.exists("best/README.md")


def _evaluated(store: Store) -> int:
    return len([name for name in store.names("outcomes") if name.startswith("t0000")])
