"""Counts of what makes no pair although nothing is wrong with it, such as a tie."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

TIES = "ties"
SMALL_GAPS = "comparisons with a gap below min_gap"
CAPPED_PAIRS = "pairs beyond pairs_per_prompt"
CAPPED_RESPONSES = "responses beyond pairs_per_prompt"
ONE_SIDE = "responses to prompts without a response of the other label"
BOTH_LABELS = "responses that have both labels"
REPEATED = "responses that repeat another one of their prompt"
UNRATED = "responses without a rank or score"
ONE_RESPONSE = "prompts with fewer than two different responses"

_EXAMPLES = 5


class NoPair(Exception):
    """Raised for a row that is right and makes no pair; its text is the reason, a noun with a plural."""


@dataclass
class NoPairCounts:
    """Counts of what made no pair in one source, by reason."""

    rows: int = 0
    """The rows of the source, those that make pairs among them."""
    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)
    """File and line of the first few of each reason."""

    def add(self, reason: str, where: str, count: int = 1) -> None:
        """Count something that makes no pair.

        Args:
            reason: One of the reasons above, or another noun in the plural.
            where: File and line of the row.
            count: How many there are in that row.
        """
        if not count:
            return
        self.counts[reason] += count
        places = self.places.setdefault(reason, [])
        if len(places) < _EXAMPLES:
            places.append(where)

    def __str__(self) -> str:
        return ", ".join(f"{count:,} {reason}" for reason, count in self.counts.most_common())
