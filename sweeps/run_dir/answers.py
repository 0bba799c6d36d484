"""`answers.json`: generated answers of the candidates, the reference and the incumbent.

Its writer, and tests of both, belong to `sweeps.finalize.sample_answers`.

Tested in tests/unit/sweeps/finalize/test_sample_answers.py.
"""

from __future__ import annotations

from sweeps.run_dir import json_files
from sweeps.run_dir.json_types import AnswersJson
from sweeps.run_dir.paths import CheckpointKey, SweepPaths, step_name


def checkpoint_name(checkpoint: CheckpointKey) -> str:
    """Return the name under which a checkpoint's answers are stored: t0003-step-000040."""
    trial, step = checkpoint
    return f"{trial}-{step_name(step)}"


def read_answers(paths: SweepPaths) -> AnswersJson:
    """Read answers.json; before anybody has answered, its `by` is empty.

    Raises DamagedFile: a guardrail on answers must not pass because they cannot be read.
    """
    answers: AnswersJson | None = json_files.ANSWERS.optional(paths.store, paths.answers)
    if answers is None and _were_compared(paths):
        raise json_files.ANSWERS.damaged(paths.store, paths.answers, "is missing")
    return answers or {"by": {}}


def _were_compared(paths: SweepPaths) -> bool:
    """Return whether the winner was compared by its answers, so that there must be some."""
    selection = json_files.SELECTION.rebuildable(paths.store, paths.selection)
    effect = selection and selection["verdict"].get("effect")
    return bool(effect) and effect.get("answers_differ") is not None


def reusable_answers(paths: SweepPaths) -> AnswersJson:
    """Read answers.json for generating what is missing; a damaged file counts as no answers."""
    answers: AnswersJson | None = json_files.ANSWERS.rebuildable(paths.store, paths.answers)
    return answers or {"by": {}}


def prompt_groups(answers: AnswersJson) -> list[str]:
    """Return the name of each answered prompt's group; its number where none is stored."""
    count = max(map(len, answers["by"].values()), default=0)
    names = [prompt.get("group") for prompt in answers.get("prompts", [])] or [None] * count
    return [str(number) if name is None else name for number, name in enumerate(names)]


def differing_answers(answers: AnswersJson, author: str, other: str) -> float | None:
    """Return the share of prompts to which two models give other texts.

    Args:
        answers: The content of answers.json.
        author: Name of the one model.
        other: Name of the other.

    Returns:
        A share in [0, 1]; None when either of them has not answered.
    """
    rows, others = answers["by"].get(author), answers["by"].get(other)
    if not rows or not others:
        return None
    pairs = list(zip(rows, others, strict=False))
    return sum(one["text"] != another["text"] for one, another in pairs) / len(pairs)
