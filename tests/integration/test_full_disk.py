"""The disk of a sweep fills up while it runs: it ends, says so, and goes on when there is room."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.driving import records_in, wait_for, write_sweep
from tests.support.in_process import command
from tests.support.small_disk import fill, mounted

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("place")]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", mebibytes=64) as folder:
        yield folder


def test_a_disk_that_fills_up_costs_no_trial(
    toy_model: Path, pairs_file: Path, tmp_path: Path, disk: Path
) -> None:
    training = {"max_steps": 300, "batch_pairs": 4, "evaluations": 6}
    path = write_sweep(
        tmp_path, toy_model, pairs_file, training=training, storage=str(disk / "runs")
    )
    folder = disk / "runs" / "full"

    def fill_once_evaluated() -> Path:
        wait_for(lambda: list(folder.glob("outcomes/t0000-step-000050.parquet")))
        return fill(disk)

    with ThreadPoolExecutor(1) as pool:
        filling = pool.submit(fill_once_evaluated)
        done = command("run", str(path), "--id", "full")
        filler = filling.result()
    assert done.returncode == 2, done.stderr
    assert "is full" in done.stderr
    assert "make room" in done.stderr
    assert "Traceback" not in done.stderr
    assert not records_in(folder), "no trial has failed"
    filler.unlink()
    assert not list(folder.glob("checkpoints/*/.writing-*"))

    done = command("resume", str(folder))
    assert done.returncode == 0, done.stderr
    assert [r.status for r in records_in(folder)] == ["finished"] * 2
    steps = list(range(50, 301, 50))
    assert [[e.step for e in r.evaluations] for r in records_in(folder)] == [steps] * 2
