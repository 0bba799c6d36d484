"""Reuses what an earlier start of a sweep prepared: all of it, or nothing.

Files are written beside their name and then renamed, so a kill leaves no half file; a full or broken
disk or an object store can. Every file is therefore checked before it is used, and made again where
that is possible.

Tested in tests/unit/sweeps/run_dir/test_torn_files.py.
"""

from __future__ import annotations

from dpo_core.encoding.token_table import TokenTable
from dpo_core.errors import UserError
from dpo_core.preferences import PreferenceSplits, data_fingerprint
from sweeps.run_dir import json_files
from sweeps.run_dir.json_files import DamagedFile
from sweeps.run_dir.json_types import ReadingReport
from sweeps.run_dir.paths import SPLITS, SweepPaths
from sweeps.run_dir.prepared import (
    Prepared,
    read_encoded,
    read_pairs,
    read_reference,
    read_split,
)


def reusable_preparation(paths: SweepPaths) -> Prepared | None:
    """Return what was prepared, or None unless all that trials, choice and report read is whole."""
    prepared = _prepared(paths)
    if prepared is None or reusable_pairs(paths) is None:
        return None
    tokens = {split: _tokens(paths, split) for split in SPLITS}
    ids = [id for table in tokens.values() for id in (table.ids if table is not None else ())]
    if data_fingerprint(ids) != prepared.data_sha256:
        return None
    is_whole = all(
        table is not None
        and _has_lines(paths, split, len(table))
        and _has_reference(paths, prepared, split, table)
        for split, table in tokens.items()
    )
    return prepared if is_whole else None


def reusable_pairs(paths: SweepPaths) -> tuple[PreferenceSplits, ReadingReport] | None:
    """Read the pairs of each split as they were read before, and what reading them found.

    Args:
        paths: The run directory.

    Returns:
        Splits and findings; None where a file is damaged: the pairs, or the audit, whose part about
        reading only the data can give again.
    """
    audit = json_files.AUDIT.rebuildable(paths.store, paths.audit)
    if audit is None and paths.store.exists(paths.audit):
        return None
    audit = audit or {}
    try:
        splits = read_pairs(paths)
    except DamagedFile:
        return None
    return splits, {
        "annotator_agreement": audit.get("annotator_agreement", {}),
        "rows_skipped": audit.get("rows_skipped", []),
        "rows_left_out": audit.get("rows_left_out", []),
        "no_pair": audit.get("no_pair", {}),
        "row_scores": audit.get("row_scores", {}),
        "columns": audit.get("columns", {}),
    }


def _prepared(paths: SweepPaths) -> Prepared | None:
    content = json_files.PREPARED.rebuildable(paths.store, paths.prepared)
    try:
        return content and Prepared(**content)
    except TypeError:  # it was written by another version
        return None


def _tokens(paths: SweepPaths, split: str) -> TokenTable | None:
    try:
        return read_encoded(paths, split)
    except DamagedFile:
        return None


def _has_lines(paths: SweepPaths, split: str, count: int) -> bool:
    """Return whether the split's JSONL is whole, with a row for each pair."""
    try:
        return len(read_split(paths, split)) == count
    except DamagedFile:
        return False


def _has_reference(paths: SweepPaths, prepared: Prepared, split: str, table: TokenTable) -> bool:
    try:
        read_reference(paths, prepared, split, table)
    except UserError:
        return False
    return True
