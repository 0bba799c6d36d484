"""A sweep on a Ray of its own: ended by SIGTERM, then everything killed at once and wiped away."""

from __future__ import annotations

import contextlib
import shutil
import signal
from pathlib import Path

import psutil
import pytest

from dpo_core.storage.json_content import decode_json
from tests.support.driving import end_of, records_in, run, start, wait_for, write_sweep

pytestmark = [pytest.mark.ray, pytest.mark.integration, pytest.mark.slow]

STEPS, EVALUATIONS = 300, 6


def below(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def session_of(processes: list[psutil.Process]) -> Path:
    """Where a raylet keeps its sockets and logs."""
    [raylet] = [p for p in processes if p.name() == "raylet"]
    [argument] = [a for a in raylet.cmdline() if a.startswith("--session_dir=")]
    return Path(argument.partition("=")[2])


def test_what_is_left_of_a_sweep_when_its_cluster_is_gone(
    ray_cluster: str, toy_model: Path, pairs_file: Path, tmp_path: Path
) -> None:
    training = {"max_steps": STEPS, "batch_pairs": 4, "evaluations": EVALUATIONS}
    path = write_sweep(tmp_path, toy_model, pairs_file, training=training)
    folder = tmp_path / "runs" / "lost"

    def evaluated() -> list[str]:
        return sorted(p.name for p in folder.glob("outcomes/t000?-step-??????.parquet"))

    polite = start("run", str(path), "--id", "lost", RAY_ADDRESS="local")
    wait_for(evaluated)
    cluster = below(polite.pid)
    polite.send_signal(signal.SIGTERM)
    code, told = end_of(polite)
    assert code == 130, told
    assert "resume" in told
    assert "Traceback" not in told
    wait_for(lambda: not any(p.is_running() for p in cluster), seconds=30)

    reached = evaluated()
    lost = start("resume", str(folder), RAY_ADDRESS="local")
    wait_for(lambda: len(evaluated()) > len(reached) + 1)
    cluster = below(lost.pid)
    session = session_of(cluster)
    for process in [psutil.Process(lost.pid), *cluster]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    end_of(lost)
    shutil.rmtree(session)
    shutil.rmtree(folder / "ray")

    first = decode_json((folder / "trials" / "t0000.json").read_bytes())
    code, told = run("resume", str(folder))  # on another cluster
    assert code == 0, told
    records = records_in(folder)
    assert [r.status for r in records] == ["finished"] * 2
    steps = list(range(50, STEPS + 1, 50))
    assert [[e.step for e in r.evaluations] for r in records] == [steps] * 2
    assert dict(records[0].point) == first["point"]
