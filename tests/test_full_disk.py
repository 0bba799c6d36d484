"""The disk of a sweep fills up while it runs: it ends, says so, and goes on when there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from driving import end_of, records_in, run, start, wait_for, write_sweep

pytestmark = [pytest.mark.ray, pytest.mark.integration]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small disk, and not in every container")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_fills_up_costs_no_trial(
    ray_cluster: str, toy_model: Path, pairs_file: Path, tmp_path: Path, disk: Path
) -> None:
    training = {"max_steps": 300, "batch_pairs": 4, "evaluations": 6}
    path = write_sweep(
        tmp_path, toy_model, pairs_file, training=training, storage=str(disk / "runs")
    )
    folder, filler = disk / "runs" / "full", disk / "filler"
    sweep = start("run", str(path), "--id", "full")
    wait_for(lambda: list(folder.glob("outcomes/t0000-step-000050.parquet")))
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4096"], capture_output=True)
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
