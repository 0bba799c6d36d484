"""Openings of the final split: each is recorded before it happens, and the first one is the rule.

A number of the final split is unbiased only for a choice that was made without it. Each opening
records when it happened, for which checkpoint, and whether it was forced.
"""

from __future__ import annotations

from dataclasses import dataclass

from dpo_core.errors import UserError
from dpo_core.storage.store import Store
from sweeps.run_dir import json_files
from sweeps.run_dir.json_types import OpeningJson


@dataclass(frozen=True)
class Opening:
    """One opening of the final split."""

    when: str
    """UTC, ISO 8601."""
    why: str
    """The checkpoint that it was opened for, and the objective."""
    forced: bool = False
    """Whether it had been opened for something else before."""

    def as_dict(self) -> OpeningJson:
        """Return the opening as selection.json holds it."""
        return {"when": self.when, "why": self.why, "forced": self.forced}


class FinalSpent(UserError):
    """The final split was opened for another choice before."""


def read_openings(store: Store, name: str) -> list[Opening]:
    """Read all openings, the first one first. Raises DamagedFile when the file is damaged."""
    rows = json_files.FINAL_OPENED.optional(store, name) or []
    return [Opening(row["when"], row["why"], bool(row.get("forced"))) for row in rows]


def open_final(store: Store, name: str, why: str, when: str, *, force: bool = False) -> None:
    """Record an opening durably; the same `why` again is no further opening.

    Args:
        store: The run directory.
        name: File of the openings.
        why: The checkpoint and the objective that the split is opened for.
        when: Time of the opening, UTC, ISO 8601.
        force: Open it although it was opened for something else.

    Raises:
        FinalSpent: It was opened for something else, and `force` is not given.
    """
    openings = read_openings(store, name)
    if any(opening.why == why for opening in openings):
        return
    if openings and not force:
        first = openings[0]
        raise FinalSpent(
            f"the final split was opened on {first.when} for {first.why}; a choice made after that "
            f"is biased by it, so {why} needs `dpo-sweeps select FOLDER --write "
            "--open-final-again`, which is recorded"
        )
    rows = [opening.as_dict() for opening in [*openings, Opening(when, why, forced=bool(openings))]]
    json_files.FINAL_OPENED.write(store, name, rows)
