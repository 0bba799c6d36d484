"""Runs a whole sweep with the command, and reads its selection.json."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def run(*arguments: str, timeout: float = 400) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sweeps", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


def selection_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    selection: dict[str, Any] = json.loads(done.stdout)
    return selection
