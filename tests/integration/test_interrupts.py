"""A sweep as a job of Ray's own command, ended by `ray job stop` and resumed by another job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dpo_core.storage.json_content import decode_json
from tests.support.driving import records_in, wait_for, write_sweep

pytestmark = [pytest.mark.ray, pytest.mark.integration, pytest.mark.slow]


def ray_job(address: str, action: str, *words: str) -> str:
    command = [str(Path(sys.executable).parent / "ray"), "job", action, "--address", address]
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_job_that_ray_job_stop_ended_is_resumed_by_another(
    ray_cluster: str, toy_model: Path, pairs_file: Path, tmp_path: Path
) -> None:
    training = {"max_steps": 300, "batch_pairs": 4, "evaluations": 6}
    write_sweep(tmp_path, toy_model, pairs_file, training=training)
    folder = tmp_path / "runs" / "stopped"
    sweep = [sys.executable, "-m", "sweeps"]

    begun = ("--submission-id", "asis", "--no-wait", "--working-dir", str(tmp_path), "--")
    ray_job(ray_cluster, "submit", *begun, *sweep, "run", "sweep.yaml", "--id", "stopped")
    wait_for(lambda: list(folder.glob("checkpoints/t0001/step-000050/manifest.json")))
    ray_job(ray_cluster, "stop", "asis")
    told = ray_job(ray_cluster, "logs", "asis")
    assert "interrupted" in told, "with the Jobs API's own SIGTERM and three seconds"
    assert "Traceback" not in told
    assert [r.trial for r in records_in(folder)] == ["t0000"], "an interrupted trial has not failed"
    reached = max(folder.glob("checkpoints/t0001/step-*"))

    told = ray_job(ray_cluster, "submit", "--", *sweep, "resume", str(folder))
    assert "succeeded" in told
    assert "\r" not in told
    after = int(reached.name.removeprefix("step-")) + 50
    assert f"t0001 step {after}/300" in told, "it goes on from its checkpoint"
    assert f"t0001 step {after - 50}/300" not in told
    steps = [list(range(50, 301, 50))] * 2
    assert [[e.step for e in r.evaluations] for r in records_in(folder)] == steps
    points = [dict(r.point) for r in records_in(folder)]
    assert points[0] != points[1], (
        "a resumed sweep draws on; it does not draw its first point again"
    )
    selection = decode_json((folder / "selection.json").read_bytes())
    assert selection["winner"]["trial"] in ("t0000", "t0001")
