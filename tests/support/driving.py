"""Sweeps as processes of their own, as people and schedulers run them: start, wait, kill, resume."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from dpo_core.storage.store import Store
from sweeps.run_dir import ledger
from sweeps.run_dir.ledger import TrialRecord
from tests.support.toys import LENIENT

Program = subprocess.Popen  # of text


def write_sweep(folder: Path, model: Path, pairs: Path, **sections: Any) -> Path:
    """A small sweep's YAML in `folder`; keyword arguments replace whole sections."""
    tree = {
        "name": "toy",
        "storage": str(folder / "runs"),
        "model": {"path": str(model), "adapter": {"rank": 4}},
        "data": {"path": str(pairs), "max_tokens": 256, "min_similarity": 1.0},
        "space": {
            "beta": {"log_uniform": [0.05, 0.5]},
            "learning_rate": 0.003,
            "length_norm": "none",
        },
        "training": {"max_steps": 4, "batch_pairs": 4, "evaluations": 2},
        "search": {"trials": 2},
        "selection": LENIENT,
        **sections,
    }
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def start(*arguments: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sweeps", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )


def end_of(program: subprocess.Popen[str], timeout: float = 300) -> tuple[int, str]:
    """Exit code and what it said on stderr. Raises AssertionError with that when it does not end."""
    try:
        _, told = program.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        program.kill()
        _, told = program.communicate()
        raise AssertionError(f"it did not end within {timeout} s; it said:\n{told}") from None
    return program.returncode, told


def run(*arguments: str, timeout: float = 300, **env: str) -> tuple[int, str]:
    return end_of(start(*arguments, **env), timeout)


def records_in(folder: Path) -> list[TrialRecord]:
    return ledger.read(Store.open(folder), "ledger.jsonl")


def wait_for(condition: Callable[[], Any], seconds: float = 180, every: float = 0.1) -> Any:
    """What `condition` gives as soon as it gives something. Raises AssertionError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(every)
    raise AssertionError("what the test waits for did not happen")
