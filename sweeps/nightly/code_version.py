"""Which code runs: the package's version and, where it can be told, the commit."""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any


def code_version() -> dict[str, Any]:
    """`commit` comes from DPO_SWEEPS_COMMIT (an image's build sets it) or from the checkout that
    the package runs from, with "+changes" when files differ from it; null where neither is."""
    return {"version": version("dpo-sweeps"), "commit": _given() or _of_checkout()}


def _given() -> str | None:
    return os.environ.get("DPO_SWEEPS_COMMIT") or None


def _of_checkout() -> str | None:
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
