"""The soak of `python -m tests.bench.soak`, shorter."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.repository import ROOT

pytestmark = [pytest.mark.ray, pytest.mark.integration, pytest.mark.slow]


def test_two_dozen_trials_while_actors_die(ray_cluster: str) -> None:
    command = [sys.executable, "-m", "tests.bench.soak", "24"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert "24 trials, 9 of them killed once" in done.stdout
