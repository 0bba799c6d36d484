"""The version of the package that runs and, where it is known, the commit.

Tested in tests/unit/sweeps/nightly/test_run_night.py.
"""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import version
from pathlib import Path

from sweeps.run_dir.json_types import CodeJson


def code_version() -> CodeJson:
    """Return the package's version and its commit.

    The commit comes from DPO_SWEEPS_COMMIT (the build of an image sets it) or from the checkout that
    the package runs from, with "+changes" when files differ from it; null where neither is known.
    """
    commit = os.environ.get("DPO_SWEEPS_COMMIT") or _commit_of_checkout()
    return {"version": version("dpo-sweeps"), "commit": commit}


def _commit_of_checkout() -> str | None:
    root = Path(__file__).parents[2]
    # A folder above may be a checkout of something else.
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(root, "status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()
