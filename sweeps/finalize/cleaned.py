"""The note of what `dpo-sweeps clean` has removed from a sweep that had ended.

Without its checkpoints a sweep still has the model of `best/`, and every score and answer. What needs
the weights of another checkpoint is refused, instead of choosing one whose weights are left.
"""

from __future__ import annotations

from datetime import UTC, datetime

from dpo_core.errors import UserError
from sweeps.run_dir import json_files
from sweeps.run_dir.json_types import CleanedJson
from sweeps.run_dir.paths import CheckpointKey, SweepPaths


def note_cleaned(paths: SweepPaths, folders: list[str], *, ended: bool) -> None:
    """Write down what is about to be removed.

    Args:
        paths: The run directory.
        folders: Folders of it that will be gone.
        ended: Whether the sweep has ended, and so has its choice.
    """
    earlier = read_cleaned(paths)
    removed = sorted({*folders, *(earlier["removed"] if earlier else ())})
    content: CleanedJson = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "removed": removed,
        "ended": ended,
    }
    json_files.CLEANED.write(paths.store, paths.cleaned, content)


def read_cleaned(paths: SweepPaths) -> CleanedJson | None:
    """Return what was removed, None when nothing was, or the note is damaged."""
    note: CleanedJson | None = json_files.CLEANED.rebuildable(paths.store, paths.cleaned)
    return note


def was_cleaned(paths: SweepPaths) -> bool:
    """Return whether the checkpoints were removed after the sweep had ended."""
    note = read_cleaned(paths)
    return bool(note and note["ended"] and paths.checkpoints in note["removed"])


def refuse_if_cleaned(paths: SweepPaths, checkpoint: CheckpointKey) -> None:
    """Raise UserError when the weights of a checkpoint are needed and `clean` has removed them."""
    trial, step = checkpoint
    note = read_cleaned(paths)
    is_removed = note is not None and paths.checkpoints in note["removed"]
    if is_removed and step not in paths.checkpoint_steps(trial):
        raise UserError(
            f"{paths.store.uri}: this needs the weights of {trial} at step {step}, and `dpo-sweeps "
            f"clean` removed the checkpoints ({note and note['when']}); the model in {paths.best}/ is "
            "what is left, so leave the choice and export.dtype as they are, or train again"
        )
