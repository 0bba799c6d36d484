"""What an earlier start of a sweep left behind: taken as a whole, or not at all.

Whatever is written is written aside and renamed, so a kill tears nothing; a disk that was full or
lies, or an object store, may. So every file proves itself before it is used, and what can be made
again is.
"""

from __future__ import annotations

from typing import Any

from dpo_core.encoding.token_table import TokenTable
from dpo_core.preferences import PreferenceSplits, data_fingerprint
from dpo_core.scoring import reference_cache
from sweeps.prepare.audit_report import Said
from sweeps.run_dir import json_files
from sweeps.run_dir.json_files import DamagedFile
from sweeps.run_dir.paths import SPLITS, SweepPaths
from sweeps.run_dir.prepared import Prepared, read_encoded, read_pairs


def kept_prepared(paths: SweepPaths) -> Prepared | None:
    """None unless everything that a trial, the choice and the report read is there and whole."""
    prepared = _prepared(paths)
    if prepared is None or kept_data(paths) is None:
        return None
    tokens = {split: _tokens(paths, split) for split in SPLITS}
    ids = [id for table in tokens.values() for id in (table.ids if table is not None else ())]
    if data_fingerprint(ids) != prepared.data_sha256:
        return None
    whole = all(
        table is not None
        and _lines(paths, split) == len(table)
        and reference_cache.load(paths.reference_cache, prepared.reference_keys[split], table)
        is not None
        for split, table in tokens.items()
    )
    return prepared if whole else None


def kept_data(paths: SweepPaths) -> tuple[PreferenceSplits, Said] | None:
    """The pairs as they were read and divided, and what was said of them; None where a file is
    damaged, also the audit, of which a part only reading the data anew brings back."""
    said = json_files.AUDIT.rebuildable(paths.store, paths.audit)
    if said is None and paths.store.exists(paths.audit):
        return None
    said = said or {}
    try:
        splits = read_pairs(paths)
    except DamagedFile:
        return None
    nothing: dict[str, Any] = {"annotator_agreement": {}, "rows_skipped": []}
    return splits, {name: said.get(name, otherwise) for name, otherwise in nothing.items()}


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


def _lines(paths: SweepPaths, split: str) -> int | None:
    """Of the split's JSONL; None when the last one is torn, or the file is not there."""
    try:
        content = paths.store.read(paths.split(split))
    except FileNotFoundError:
        return None
    return content.count(b"\n") if content.endswith(b"\n") else None
