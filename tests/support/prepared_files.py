"""Prepared files that a test writes anew."""

from __future__ import annotations

from sweeps.run_dir import json_files
from sweeps.run_dir.paths import SweepPaths


def forget_digests(paths: SweepPaths) -> None:
    """Remove the digests of splits and tokens, as a sweep of an earlier version has none."""
    content = json_files.PREPARED.required(paths.store, paths.prepared)
    json_files.PREPARED.write(paths.store, paths.prepared, {**content, "files": {}})
