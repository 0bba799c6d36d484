"""The disk of a sweep fills up while it runs: it ends, says so, and goes on when there is room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.driving import end_of, records_in, run, start, wait_for, write_sweep
from tests.support.small_disk import fill, mounted

pytestmark = [pytest.mark.ray, pytest.mark.integration]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", mebibytes=64) as folder:
        yield folder


def test_a_disk_that_fills_up_costs_no_trial(
    ray_cluster: str, toy_model: Path, pairs_file: Path, tmp_path: Path, disk: Path
) -> None:
    training = {"max_steps": 300, "batch_pairs": 4, "evaluations": 6}
    path = write_sweep(
        tmp_path, toy_model, pairs_file, training=training, storage=str(disk / "runs")
    )
    folder = disk / "runs" / "full"
    sweep = start("run", str(path), "--id", "full")
    wait_for(lambda: list(folder.glob("outcomes/t0000-step-000050.parquet")))
    filler = fill(disk)
    code, told = end_of(sweep)
    assert code == 2, told
    assert "is full" in told
    assert "make room" in told
    assert "Traceback" not in told
    assert not records_in(folder), "no trial has failed"
    filler.unlink()
    assert not list(folder.glob("checkpoints/*/.writing-*"))

    code, told = run("resume", str(folder))
    assert code == 0, told
    assert [r.status for r in records_in(folder)] == ["finished"] * 2
    steps = list(range(50, 301, 50))
    assert [[e.step for e in r.evaluations] for r in records_in(folder)] == [steps] * 2
