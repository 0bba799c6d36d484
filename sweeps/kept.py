"""What an earlier start of a sweep left behind: taken as a whole, or not at all.

Whatever is written is written aside and renamed, so a kill tears nothing; a disk that was full or
lies, or an object store, may. So every file proves itself before it is used, and what can be made
again is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from dpo_core import reference
from dpo_core.encode import EncodedPair
from dpo_core.preferences import PreferencePair, PreferenceSplits, data_fingerprint, pair_of_row
from sweeps.paths import SPLITS, SweepPaths
from sweeps.prepare import Prepared, read_encoded


def kept_prepared(paths: SweepPaths) -> Prepared | None:
    """None unless everything that a trial reads is there and whole."""
    prepared = _prepared(paths)
    if prepared is None or kept_splits(paths) is None:
        return None
    for split, key in prepared.reference_keys.items():
        pairs = _encoded(paths, split)
        if pairs is None or reference.load(paths.reference_cache, key, pairs) is None:
            return None
    return prepared


def kept_splits(paths: SweepPaths) -> PreferenceSplits | None:
    """The pairs of each split as they were divided, if they prove to be all of them."""
    found = {split: _split(paths, split) for split in SPLITS}
    pairs = [pair for split in found.values() for pair in split or ()]
    prepared = _prepared(paths)
    if prepared is not None:
        whole = data_fingerprint(pairs) == prepared.data_sha256
    else:
        whole = all(
            found[split] and _ids(found[split]) == _ids(_encoded(paths, split)) for split in SPLITS
        )
    if not whole:
        return None
    return PreferenceSplits(**{split: tuple(part or ()) for split, part in found.items()})


def _prepared(paths: SweepPaths) -> Prepared | None:
    content = paths.store.read_json(paths.prepared)
    try:
        return Prepared(**content)
    except TypeError:
        return None


def _split(paths: SweepPaths, split: str) -> list[PreferencePair] | None:
    try:
        rows = paths.store.read(paths.split(split)).splitlines()
        return [pair_of_row(json.loads(row)) for row in rows]
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def _encoded(paths: SweepPaths, split: str) -> list[EncodedPair] | None:
    try:
        return read_encoded(paths, split)
    except (FileNotFoundError, ValueError):  # what ArrowInvalid is
        return None


def _ids(pairs: Sequence[PreferencePair | EncodedPair] | None) -> list[str]:
    return [pair.id for pair in pairs or ()]
