"""Fixtures of whole sweeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.driving import write_sweep
from tests.support.in_process import PLACES, sweeps_in_process, sweeps_run


@pytest.fixture
def sweep_file(tmp_path: Path, toy_model: Path, pairs_file: Path) -> Callable[..., Path]:
    """Writes the YAML of a sweep of one trial; keyword arguments replace whole sections."""

    def write(**sections: Any) -> Path:
        own = {
            "space": {"beta": 0.1, "learning_rate": 0.005, "length_norm": "none"},
            "search": {"trials": 1},
        }
        return write_sweep(tmp_path, toy_model, pairs_file, **{**own, **sections})

    return write


@pytest.fixture
def in_process() -> Iterator[None]:
    """Sweeps of `command` run in this process, without Ray."""
    with sweeps_in_process():
        yield


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[None]:
    """Sweeps of `command` run in this process; and on Ray, which is slow."""
    with sweeps_run(request):
        yield
