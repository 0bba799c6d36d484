"""Openings of a sweep's final split: each is recorded before it happens, here and in the register.

A number of the final split is unbiased only for a choice that was made without it. Each opening
records when it happened, for which checkpoint, against whom, and whether it was forced; and which of
how many openings it is for all sweeps of the storage that share prompts of their final splits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from dpo_core.errors import UserError
from sweeps.run_dir import json_files
from sweeps.run_dir.final_register import AskedOpening, FinalRegister, RegisteredOpening
from sweeps.run_dir.json_types import OpeningJson
from sweeps.run_dir.paths import SweepPaths

ONE_SWEEP, NIGHTS = 1, 30
"""Openings that a final split is for, where the config does not say."""


@dataclass(frozen=True)
class Opening:
    """One opening of the final split."""

    when: str
    """UTC, ISO 8601."""
    why: str
    """The checkpoint that it was opened for, and the objective."""
    forced: bool = False
    """Whether it had been opened for something else before."""
    against: str | None = None
    """The opponent; None for an opening that an earlier version recorded."""
    number: int = 1
    """Which opening it is of those that share prompts."""
    declared: int = ONE_SWEEP
    """For how many openings the prompts were declared before the first."""

    def is_for(self, why: str, against: str) -> bool:
        """Return whether it is an opening for this checkpoint and this opponent."""
        return self.why == why and self.against in (None, against)

    def as_dict(self) -> OpeningJson:
        """Return the opening as selection.json holds it."""
        row: OpeningJson = {"when": self.when, "why": self.why, "forced": self.forced}
        if self.against is not None:
            row |= {"against": self.against, "number": self.number, "declared": self.declared}
        return row


class FinalSpent(UserError):
    """The final split was opened for another choice before."""


def read_openings(paths: SweepPaths) -> list[Opening]:
    """Read all openings, the first one first. Raises DamagedFile when the file is damaged."""
    rows: list[OpeningJson]
    rows = json_files.FINAL_OPENED.optional(paths.store, paths.final_opened) or []
    return [
        Opening(
            row["when"],
            row["why"],
            bool(row.get("forced")),
            row.get("against"),
            row.get("number", position),
            row.get("declared", ONE_SWEEP),
        )
        for position, row in enumerate(rows, 1)
    ]


def find_opening(paths: SweepPaths, why: str, against: str) -> Opening | None:
    """Return the opening for a checkpoint and an opponent, None if there was none.

    Args:
        paths: The run directory.
        why: The checkpoint and the objective.
        against: The opponent: `reference`, or the path of the incumbent.

    Returns:
        The opening.

    Raises:
        DamagedFile: The file is damaged, or missing where selection.json has openings.
    """
    _refuse_lost_openings(paths)
    openings = (opening for opening in read_openings(paths) if opening.is_for(why, against))
    return next(openings, None)


def _refuse_lost_openings(paths: SweepPaths) -> None:
    """Raise DamagedFile where the file of openings is gone: final would count as never opened."""
    if paths.store.exists(paths.final_opened):
        return
    selection = json_files.SELECTION.rebuildable(paths.store, paths.selection)
    if selection and selection.get("final_opened"):
        raise json_files.FINAL_OPENED.damaged(paths.store, paths.final_opened, "is missing")


def open_final(
    paths: SweepPaths,
    asked: AskedOpening,
    questions: Callable[[], set[str]],
    declared: int,
    *,
    force: bool = False,
) -> Opening:
    """Record an opening durably; the same one again is no further opening.

    The register comes first: a sweep that is killed in between finds its opening there.

    Args:
        paths: The run directory.
        asked: What final is to be opened for.
        questions: Returns the `question_id` of each prompt of the final split.
        declared: For how many openings the config declares the final split.
        force: Open it although it was opened for something else.

    Returns:
        The opening.

    Raises:
        FinalSpent: It was opened for something else, and `force` is not given.
        DamagedFile: The record or the register is damaged.
    """
    openings = read_openings(paths)
    before = next((o for o in openings if o.is_for(asked.why, asked.against)), None)
    if before is not None and before.against is not None:
        return before
    if before is None and openings and not force:
        first = openings[0]
        raise FinalSpent(
            f"the final split was opened on {first.when} for {first.why}{_named(first.against)}; a "
            f"choice made after that is biased by it, so {asked.why}{_named(asked.against)} needs "
            "`dpo-sweeps select FOLDER --write --open-final-again`, which is recorded"
        )
    if before is not None:  # of an earlier version, which had no register
        asked = replace(asked, when=before.when)
    registered = FinalRegister.of(paths.storage).record(asked, questions(), declared)
    forced = bool(openings) if before is None else before.forced
    opening = _opening(registered, forced)
    openings = [opening if each is before else each for each in openings]
    openings += [] if before is not None else [opening]
    rows = [each.as_dict() for each in openings]
    json_files.FINAL_OPENED.write(paths.store, paths.final_opened, rows)
    return opening


def describe_next_opening(number: int, declared: int) -> str | None:
    """Say what earlier openings mean for a sweep that begins; None where there were none.

    Args:
        number: Which opening its own will be.
        declared: For how many openings the prompts were declared before the first.

    Returns:
        A sentence.
    """
    if number == 1:
        return None
    before = (
        f"prompts of final were in {number - 1} opening{'s' * (number > 2)} of a final split before"
    )
    if number <= declared:
        return (
            f"{before}, of {declared} that they were declared for; the p-value pays for all of them"
        )
    return (
        f"{before}, and were declared for {declared}: this sweep will have numbers, but no verdict; "
        "give final other prompts (data.final_path)"
    )


def _opening(registered: RegisteredOpening, forced: bool) -> Opening:
    return Opening(
        registered.when,
        registered.why,
        forced,
        registered.against,
        registered.number,
        registered.declared,
    )


def _named(against: str | None) -> str:
    return f" against {against}" if against is not None else ""
