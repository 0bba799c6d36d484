"""Ray's head dies under a sweep: the sweep ends with words of ours, and goes on when it is resumed."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.support.driving import end_of, records_in, start, wait_for, write_sweep

pytestmark = [pytest.mark.integration, pytest.mark.ray, pytest.mark.slow]


def test_a_sweep_outlives_its_head(toy_model: Path, pairs_file: Path, tmp_path: Path) -> None:
    training = {"max_steps": 600, "batch_pairs": 4, "evaluations": 6}
    path = write_sweep(tmp_path, toy_model, pairs_file, training=training)
    folder = tmp_path / "runs" / "head"
    program = start("run", str(path), "--id", "head", RAY_ADDRESS="local")
    wait_for(lambda: list(folder.glob("outcomes/t0000-step-000100.parquet")))
    for child in psutil.Process(program.pid).children(recursive=True):
        if child.name() == "gcs_server":
            child.kill()
    code, told = end_of(program)
    assert code == 2, told
    assert told.count("error: ") == 1
    assert "error: Ray's head at " in told
    assert "Traceback" not in told
    assert all(record.status != "failed" for record in records_in(folder))

    code, told = end_of(start("resume", str(folder), RAY_ADDRESS="local"))
    assert code == 0, told
    assert [record.status for record in records_in(folder)] == ["finished"] * 2
