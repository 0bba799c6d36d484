"""What schedulers, people and the Jobs API do to end a sweep: it ends soon, and can be resumed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.driving import end_of, records_in, run, start, wait_for, write_sweep

pytestmark = [pytest.mark.ray, pytest.mark.integration, pytest.mark.slow]


def test_two_starts_sigterm_and_a_stopped_job(
    ray_cluster: str, toy_model: Path, pairs_file: Path, tmp_path: Path
) -> None:
    """One sweep: started twice, ended by SIGTERM, submitted again and stopped there, resumed."""
    training = {"max_steps": 300, "batch_pairs": 4, "evaluations": 6}
    path = write_sweep(tmp_path, toy_model, pairs_file, training=training)
    folder = tmp_path / "runs" / "stopped"

    first = start("run", str(path), "--id", "stopped")
    wait_for(lambda: list(folder.glob("checkpoints/t0000/step-000050/manifest.json")))
    code, told = run("resume", str(folder))
    assert code == 75, told
    assert f"process {first.pid} on" in told
    assert "Traceback" not in told

    first.send_signal(signal.SIGTERM)
    code, told = end_of(first)
    assert code == 130, told
    assert "resume" in told
    assert "Traceback" not in told
    assert not records_in(folder), "an interrupted trial has not failed"
    reached = max(folder.glob("checkpoints/t0000/step-*"))

    ray = str(Path(sys.executable).parent / "ray")
    job = [ray, "job", "submit", "--address", ray_cluster, "--submission-id", "asis", "--no-wait"]
    entry = ["--", sys.executable, "-m", "sweeps", "resume", str(folder)]
    subprocess.run([*job, *entry], check=True, capture_output=True, timeout=120)
    wait_for(lambda: list(folder.glob("outcomes/t0001-*")))
    stop = [ray, "job", "stop", "--address", ray_cluster, "asis"]
    subprocess.run(stop, check=True, capture_output=True, timeout=120)
    logs = [ray, "job", "logs", "--address", ray_cluster, "asis"]
    told = subprocess.run(logs, check=True, capture_output=True, text=True, timeout=60).stdout
    assert "interrupted" in told, "with the Jobs API's own SIGTERM and three seconds"
    assert f"t0000 step {int(reached.name[5:]) + 50}/300" in told, "it goes on from its checkpoint"

    code, told = run("resume", str(folder))
    assert code == 0, told
    steps = [list(range(50, 301, 50))] * 2
    assert [[e.step for e in r.evaluations] for r in records_in(folder)] == steps
    points = [dict(r.point) for r in records_in(folder)]
    assert points[0] != points[1], (
        "a resumed sweep draws on; it does not draw its first point again"
    )
