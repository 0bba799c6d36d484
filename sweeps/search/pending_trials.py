"""Trials of the search that were drawn and have no record: a resumed sweep runs them first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from dpo_core.evaluation.outcomes import read_outcomes_if_whole
from sweeps.run_dir import json_files
from sweeps.run_dir.ledger import TrialRecord
from sweeps.run_dir.paths import SweepPaths
from sweeps.search.drawn_point import DrawnPoint

_SEARCHED = re.compile(r"t\d{4,}")


def not_ended(points: Sequence[DrawnPoint], records: Sequence[TrialRecord]) -> list[DrawnPoint]:
    ended = {record.trial for record in records}
    return [drawn for drawn in points if drawn.trial not in ended]


def drawn_but_open(
    paths: SweepPaths, records: Sequence[TrialRecord], seed: int
) -> list[DrawnPoint]:
    """In the order of their names.

    A point whose file is damaged is read from the trial's checkpoints. Where there are none either,
    nothing was trained that could be lost: the trial is forgotten, and another point is drawn.
    """
    ended = {record.trial for record in records}
    found = []
    for trial in sorted(_mentioned(paths) - ended):
        row = drawn_row(paths, trial)
        if row is None:
            _forget(paths, trial)
        else:
            found.append(DrawnPoint(trial, row["point"], seed))
    return found


def drawn_row(paths: SweepPaths, trial: str) -> dict[str, Any] | None:
    """What is on record of how the trial was drawn: its `point`, and more."""
    row: dict[str, Any] | None = json_files.POINT.rebuildable(paths.store, paths.point(trial))
    for step in paths.checkpoint_steps(trial):
        manifest = f"{paths.checkpoint(trial, step)}/manifest.json"
        row = row or json_files.CHECKPOINT_MANIFEST.rebuildable(paths.store, manifest)
    return row


def delete_torn_outcomes(paths: SweepPaths, trial: str) -> None:
    """Of a trial that goes on: their steps are evaluated again."""
    for _, name in paths.evaluations_of(trial):
        if read_outcomes_if_whole(paths.store.read(name)) is None:
            paths.store.delete(name)


def first_free_number(paths: SweepPaths, records: Sequence[TrialRecord]) -> int:
    """Of the first trial that was never drawn, whatever files were lost."""
    names = _mentioned(paths) | {r.trial for r in records if _SEARCHED.fullmatch(r.trial)}
    return max((int(name.removeprefix("t")) + 1 for name in names), default=0)


def _mentioned(paths: SweepPaths) -> set[str]:
    """Trials of the search that left a file of any kind."""
    folders = (paths.trials, paths.checkpoints, paths.outcomes, paths.failures)
    names = (name for folder in folders for name in paths.store.names(folder))
    stems = (name.removesuffix(".json").partition("-step-")[0] for name in names)
    return {stem for stem in stems if _SEARCHED.fullmatch(stem)}


def _forget(paths: SweepPaths, trial: str) -> None:
    for _, name in paths.evaluations_of(trial):
        paths.store.delete(name)
    for name in (f"{paths.checkpoints}/{trial}", paths.failure(trial), paths.point(trial)):
        paths.store.delete(name)
