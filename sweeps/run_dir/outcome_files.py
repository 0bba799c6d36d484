"""Reads the Parquet files of evaluations: the numbers of every pair at one checkpoint."""

from __future__ import annotations

import logging
from pathlib import PurePosixPath
from typing import cast

from dpo_core.evaluation.outcomes import Outcomes, read_outcomes_if_whole
from sweeps.run_dir.json_files import DamagedFile
from sweeps.run_dir.ledger import EvaluationMetadata
from sweeps.run_dir.paths import SweepPaths

log = logging.getLogger("dpo_sweeps")


def read_outcomes_of(paths: SweepPaths, name: str) -> Outcomes:
    """Read one file of outcomes. Raises DamagedFile when it is missing or damaged."""
    outcomes = read_stored_outcomes(paths, name)
    if outcomes is None:
        raise DamagedFile(f"{paths.store.uri}/{name}: is missing; {_way_out(paths, name)}")
    return outcomes


def read_stored_outcomes(paths: SweepPaths, name: str) -> Outcomes | None:
    """Read one file of outcomes, None where there is none. Raises DamagedFile when it is damaged."""
    if not paths.store.exists(name):
        return None
    outcomes = read_outcomes_if_whole(paths.store.read(name))
    if outcomes is None:
        raise DamagedFile(f"{paths.store.uri}/{name}: is damaged; {_way_out(paths, name)}")
    return outcomes[0]


def stored_evaluations(paths: SweepPaths, trial: str) -> list[tuple[EvaluationMetadata, Outcomes]]:
    """Read the evaluations that a trial has stored; a damaged one counts as not made, and is logged.

    Returns:
        Metadata (`step`, `loss`, …) and outcomes of each evaluation, by step.
    """
    evaluations = []
    for _, name in paths.evaluations_of(trial):
        stored = read_outcomes_if_whole(paths.store.read(name))
        if stored is None:
            log.warning(f"{paths.store.uri}/{name}: is damaged; it counts as not made")
        else:
            outcomes, metadata = stored
            evaluations.append((cast("EvaluationMetadata", metadata), outcomes))
    return evaluations


def _way_out(paths: SweepPaths, name: str) -> str:
    resume = f"`dpo-sweeps resume {paths.store.uri}`"
    stem = PurePosixPath(name).stem
    if stem.startswith("incumbent-") or stem.endswith("-final"):
        return f"{resume} scores the model again"
    return f"restore it from a copy, or delete it, and {resume} chooses among the other checkpoints"
