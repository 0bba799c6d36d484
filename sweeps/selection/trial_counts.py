"""The count of a sweep's trials, the same in its terminal, its plan and its report. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from dpo_core.wording import counted
from sweeps.run_dir.json_types import SelectionJson, TrialCountsJson
from sweeps.run_dir.ledger import FAILED, TrialRecord


def count_trials(records: Iterable[TrialRecord]) -> TrialCountsJson:
    """Count ended trials: those of the search, those that confirm it, and the failed of both."""
    records = list(records)
    confirming = sum(record.confirms is not None for record in records)
    return {
        "search": len(records) - confirming,
        "confirmation": confirming,
        "failed": sum(record.status == FAILED for record in records),
    }


def trial_counts_in_words(selection: SelectionJson) -> str:
    """Say how many trials a selection chose from; earlier versions counted those of the search alone."""
    counts = selection.get("trial_counts")
    if counts is None:
        return trials_in_words(len(selection["trials"]), 0)
    return trials_in_words(counts["search"], counts["confirmation"], counts["failed"])


def new_seeds_in_words(count: int) -> str:
    """Say with how many seeds a point is trained again."""
    return "a new seed" if count == 1 else f"{count} new seeds"


def trials_in_words(search: int, confirmation: int, failed: int = 0) -> str:
    """Say how many trials there are.

    Args:
        search: Trials of the search.
        confirmation: Trials that train points of the search again.
        failed: Those of both that failed.

    Returns:
        Part of a sentence, such as `17 trials: 8 of the search and 9 of the confirmation, 1 failed`.
    """
    total = search + confirmation
    words = counted(total, "trial")
    if confirmation:
        words += f": {search} of the search and {confirmation} of the confirmation"
    return f"{words}, {failed} failed" if failed else words
