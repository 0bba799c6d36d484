"""Trials of the search that were drawn and have no record: a resumed sweep runs them first.

Tested in tests/unit/sweeps/run_dir/test_torn_files.py.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import NotRequired, TypedDict

from dpo_core.evaluation.outcomes import read_outcomes_if_whole
from sweeps.run_dir import json_files
from sweeps.run_dir.json_types import Point
from sweeps.run_dir.ledger import TrialRecord
from sweeps.run_dir.paths import SweepPaths
from sweeps.search.drawn_point import DrawnPoint

log = logging.getLogger("dpo_sweeps")

_SEARCHED = re.compile(r"t\d{4,}")


class PointJson(TypedDict):
    """`trials/<trial>.json`, or the manifest of a checkpoint, which holds more besides."""

    point: Point
    seed: NotRequired[int]


def without_record(
    points: Sequence[DrawnPoint], records: Sequence[TrialRecord]
) -> list[DrawnPoint]:
    """Return the points whose trials have not ended."""
    ended = {record.trial for record in records}
    return [drawn for drawn in points if drawn.trial not in ended]


def pending_points(
    paths: SweepPaths, records: Sequence[TrialRecord], seed: int
) -> list[DrawnPoint]:
    """Find the points of the search that were drawn and whose trials have not ended.

    A point whose file is damaged is read from the trial's checkpoints. Where there are none either,
    nothing was trained that could be lost: the trial's files are deleted, and another point is drawn.

    Args:
        paths: The sweep.
        records: What the ledger holds.
        seed: The seed of the search's trials.

    Returns:
        The points by the names of their trials.
    """
    ended = {record.trial for record in records}
    pending = []
    for trial in sorted(trials_with_files(paths) - ended):
        recorded = read_point(paths, trial)
        if recorded is None:
            _delete_files(paths, trial)
        else:
            pending.append(DrawnPoint(trial, recorded["point"], seed))
    return pending


def read_point(paths: SweepPaths, trial: str) -> PointJson | None:
    """Read the point of a trial from its own file, or else from its checkpoints."""
    recorded: PointJson | None
    recorded = json_files.POINT.rebuildable(paths.store, paths.point(trial))
    for step in paths.checkpoint_steps(trial):
        manifest = f"{paths.checkpoint(trial, step)}/manifest.json"
        recorded = recorded or json_files.CHECKPOINT_MANIFEST.rebuildable(paths.store, manifest)
    return recorded


def delete_torn_outcomes(paths: SweepPaths, trial: str) -> None:
    """Delete the torn outcomes of a trial that goes on: it evaluates those steps again."""
    for step, name in paths.evaluations_of(trial):
        if read_outcomes_if_whole(paths.store.read(name)) is None:
            log.warning(f"{paths.store.uri}/{name}: is damaged; step {step} is evaluated again")
            paths.store.delete(name)


def first_free_number(paths: SweepPaths, records: Sequence[TrialRecord]) -> int:
    """Return the number of the first trial that was never drawn, whatever files were lost."""
    names = trials_with_files(paths) | {r.trial for r in records if _SEARCHED.fullmatch(r.trial)}
    return max((int(name.removeprefix("t")) + 1 for name in names), default=0)


def trials_with_files(paths: SweepPaths) -> set[str]:
    """Return the trials of the search that left a file of any kind."""
    folders = (paths.trials, paths.checkpoints, paths.outcomes, paths.failures)
    names = (name for folder in folders for name in paths.store.names(folder))
    stems = (name.removesuffix(".json").partition("-step-")[0] for name in names)
    return {stem for stem in stems if _SEARCHED.fullmatch(stem)}


def _delete_files(paths: SweepPaths, trial: str) -> None:
    for _, name in paths.evaluations_of(trial):
        paths.store.delete(name)
    for name in (f"{paths.checkpoints}/{trial}", paths.failure(trial), paths.point(trial)):
        paths.store.delete(name)
