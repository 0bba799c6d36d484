"""Removes what sweeps that ended keep and nothing needs any more: checkpoints and Ray's files.

A sweep's choice, its model in `best/`, ledger, outcomes, answers and reports stay, and so does all that
sweeps share. Not touched are sweeps that run or that `resume` would still go on with, those of another
user, and links. Tested in tests/unit/sweeps/test_clean.py.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dpo_core.errors import SettingsError, UserError
from dpo_core.storage.store import Store
from sweeps.finalize.cleaned import note_cleaned
from sweeps.finalize.export import exported
from sweeps.run_dir import json_files, ledger
from sweeps.run_dir.config_file import read_config
from sweeps.run_dir.exported import CARD, ExportedModel
from sweeps.run_dir.json_types import SelectionJson
from sweeps.run_dir.lock import Busy, is_locked, lock
from sweeps.run_dir.paths import SweepPaths

ENDED, RUNNING, UNFINISHED, FOREIGN = "ended", "running", "not ended", "of another user"
REMOVED = (SweepPaths.checkpoints, SweepPaths.ray)
"""The folders that are removed."""


@dataclass(frozen=True)
class Cleanable:
    """A sweep with what it could give back."""

    paths: SweepPaths
    state: str
    bytes: dict[str, int]
    """The size of each folder that could be removed, by its name."""
    why_not: str | None = None
    """Why nothing is removed; None where all of it is."""

    @property
    def removed_bytes(self) -> int:
        """Return the size of all that is removed."""
        return sum(self.bytes.values()) if self.why_not is None else 0


def find_cleanable(folder: str, unfinished: Collection[str] = ()) -> list[Cleanable]:
    """Look at every sweep of a storage, or at one sweep.

    Args:
        folder: Folder or URI of a storage or of a sweep.
        unfinished: Ids of sweeps that are cleaned although they have not ended.

    Returns:
        The sweeps, by id.

    Raises:
        SettingsError: There is no sweep, or none of an id in `unfinished`.
    """
    sweeps = _sweeps_in(folder)
    unknown = sorted({*unfinished} - {paths.sweep_id for paths in sweeps})
    if unknown:
        raise SettingsError(f"--unfinished {unknown[0]}: {folder} has no sweep of that id")
    return [_look_at(paths, paths.sweep_id in unfinished) for paths in sweeps]


def clean(sweeps: Sequence[Cleanable]) -> list[Cleanable]:
    """Remove what `find_cleanable` found.

    Returns:
        The sweeps with what was removed. One that has begun to run since gives nothing back.
    """
    return [_clean(each) if each.bytes and each.why_not is None else each for each in sweeps]


def _sweeps_in(folder: str) -> list[SweepPaths]:
    one = SweepPaths.of_folder(folder)
    if one.store.exists(one.config):
        return [one]
    storage = Store.open(folder)
    every = [SweepPaths(storage, name) for name in storage.names() if not name.startswith(".")]
    sweeps = [paths for paths in every if paths.store.exists(paths.config)]
    if not sweeps:
        raise SettingsError(f"{storage.uri}: holds no sweep; give a storage, or a sweep's folder")
    return sweeps


def _look_at(paths: SweepPaths, is_named: bool) -> Cleanable:
    state, why_not = _state(paths)
    if state == FOREIGN:
        return Cleanable(paths, state, {}, why_not)
    sizes = {name: _size(paths.store, name) for name in REMOVED if _is_folder(paths.store, name)}
    is_cleaned = is_named and state == UNFINISHED
    return Cleanable(paths, state, sizes, None if is_cleaned else why_not)


def _state(paths: SweepPaths) -> tuple[str, str | None]:
    """Return the state of a sweep, and why it is not cleaned, if it is not."""
    local = paths.store.local
    if local is not None and (local.is_symlink() or local.lstat().st_uid != os.geteuid()):
        return FOREIGN, "a link, or another user's"
    if is_locked(paths.leases, paths.sweep_id):
        return RUNNING, "a process is at work on it"
    try:
        why_not = _what_is_missing(paths)
    except UserError as error:
        why_not = str(error)
    return (ENDED, None) if why_not is None else (UNFINISHED, why_not)


def _what_is_missing(paths: SweepPaths) -> str | None:
    """Return what `resume` would still do for a sweep; None when nothing."""
    selection: SelectionJson | None
    selection = json_files.SELECTION.rebuildable(paths.store, paths.selection)
    planned = read_config(paths).planned_trials
    trials = len(ledger.searched(ledger.read(paths.store, paths.ledger)))
    if selection is None or trials < planned:
        return f"`resume` goes on with it: {trials} of {planned} trials have ended"
    winner = selection["winner"]
    if winner is not None and exported(paths) != (winner["trial"], winner["step"]):
        return f"its winner is not in {paths.best}/; `resume` exports it from its checkpoint"
    return None


def _clean(sweep: Cleanable) -> Cleanable:
    paths = sweep.paths
    try:
        with lock(paths.leases, paths.sweep_id):
            is_ended = sweep.state == ENDED
            if is_ended and (why_not := _what_is_missing(paths) or _what_is_damaged(paths)):
                return replace(sweep, state=UNFINISHED, why_not=why_not)
            note_cleaned(paths, list(sweep.bytes), ended=is_ended)
            for name in sweep.bytes:
                _remove(paths.store, name)
    except Busy as error:
        return replace(sweep, state=RUNNING, why_not=str(error))
    return sweep


def _what_is_damaged(paths: SweepPaths) -> str | None:
    """Return what is wrong with the model in `best/`, whose only copy it is going to be."""
    model = ExportedModel.of(paths)
    if not model.exists or model.is_whole(without=CARD):
        return None
    return f"a file of {paths.best}/ is damaged; `resume` exports it again from its checkpoint"


def _is_folder(store: Store, name: str) -> bool:
    if store.local is None:
        return store.exists(name)
    path = store.local / name
    return path.is_dir() and not path.is_symlink()


def _size(store: Store, name: str) -> int:
    """Return the bytes of all files in a folder; no link is followed."""
    if store.local is None:
        return store.size(name)
    files = (
        Path(parent, file) for parent, _, names in os.walk(store.local / name) for file in names
    )
    return sum(file.lstat().st_size for file in files)


def _remove(store: Store, name: str) -> None:
    if store.local is None:
        store.delete(name)
    else:
        shutil.rmtree(store.local / name)  # follows no link
