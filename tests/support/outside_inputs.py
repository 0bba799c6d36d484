"""The folder of inputs that do not ship with the repository; tests that need one skip without it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.repository import ROOT

VARIABLE = "DPO_SWEEPS_TEST_INPUTS"
TEST_INPUTS = Path(os.environ.get(VARIABLE, ROOT.parent / "shared"))


def outside_input(name: str) -> Path:
    """A file or folder of `TEST_INPUTS`. Skips the test, visibly, where it is absent."""
    path = TEST_INPUTS / name
    if not path.exists():
        pytest.skip(f"an input from outside is absent: {path}; set {VARIABLE} to its folder")
    return path
