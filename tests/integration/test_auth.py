"""Who is let in: by the Ray that a sweep starts, and by the one of this test session."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cluster import answer
from tests.support.repository import ROOT

PAGES = ("/api/jobs/", "/api/v0/actors", "/api/cluster_status", "/nodes?view=summary")


@pytest.mark.ray
@pytest.mark.parametrize("page", PAGES)
def test_the_dashboard_wants_the_right_token(ray_cluster: str, page: str) -> None:
    right = os.environ["RAY_AUTH_TOKEN"]
    given = {token: answer(ray_cluster + page, token) for token in (None, "f" * 64, right)}
    assert given == {None: 401, "f" * 64: 403, right: 200}


STARTS_A_RAY = f"""
import os, stat, sys
from pathlib import Path
import ray  # before the token exists, as a library may
sys.path.insert(0, {str(ROOT)!r})
from sweeps.ray_runtime.connect import connected, dashboard_url
from tests.support.cluster import answer
with connected():
    file = Path.home() / ".ray" / "auth_token"
    page = dashboard_url() + "/api/jobs/"
    print("answers", *(answer(page, token) for token in (None, "f" * 64, file.read_text())))
    print("mode", oct(stat.S_IMODE(file.stat().st_mode)), dashboard_url().split("//")[1][:9])
"""


@pytest.mark.ray
def test_the_ray_that_a_sweep_starts_wants_a_token(tmp_path: Path) -> None:
    """In a home of its own, on a machine where another Ray may run: RAY_ADDRESS=local asks for one."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment |= {"HOME": str(tmp_path), "RAY_ADDRESS": "local", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", STARTS_A_RAY],
        capture_output=True,
        text=True,
        timeout=180,
        env=environment,
    )
    told = [line for line in done.stdout.splitlines() if line.startswith(("answers", "mode"))]
    assert told == ["answers 401 403 200", "mode 0o600 127.0.0.1"], done.stderr
