"""Reads `answers.json`: the generated answers of the candidates, the reference, the incumbent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeps.run_dir import json_files
from sweeps.run_dir.paths import CheckpointKey, SweepPaths, step_name


def name_of(place: CheckpointKey) -> str:
    return f"{place[0]}-{step_name(place[1])}"


def read_answers(paths: SweepPaths) -> dict[str, Any]:
    """What answers.json holds; without anybody's answers before there are any.

    Raises DamagedFile: a guardrail on answers must not pass because they cannot be read.
    """
    answers: dict[str, Any] | None = json_files.ANSWERS.optional(paths.store, paths.answers)
    return answers or {"by": {}}


def reusable_answers(paths: SweepPaths) -> dict[str, Any]:
    """The same for whoever asks again: a damaged file counts as no answers."""
    answers: dict[str, Any] | None = json_files.ANSWERS.rebuildable(paths.store, paths.answers)
    return answers or {"by": {}}


def tokens_of(answers: Mapping[str, Any], whom: str) -> list[list[int]] | None:
    """Of each answer; None when `whom` has not answered."""
    rows = answers["by"].get(whom)
    return None if rows is None else [row["tokens"] for row in rows]
