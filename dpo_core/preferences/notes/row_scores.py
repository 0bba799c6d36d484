"""Checks the scores that rows of pairs bring along: the chosen answer should have the larger one.

Publishers name such columns `score_chosen` and `score_rejected`, `chosen-rating` and `rejected-rating`,
`chosen_avg_rating`, `reward_chosen` and the like; some give the difference, as `margin`. Nothing is
trained on them.
"""

from __future__ import annotations

import math
import re
from collections.abc import KeysView
from dataclasses import dataclass, field

_CHOSEN, _REJECTED = "chosen", "rejected"
_SCORE = re.compile(r"(?<![a-z])(avg|mean|overall|score|rating|reward|grade)s?(?![a-z])")
_MARGIN = re.compile(r"([a-z_-]*[_-])?margin")
_EXAMPLES = 5


@dataclass
class ScoreCounts:
    """Counts of rows whose scores in two columns, or margin in one, do not prefer the chosen answer."""

    rows: int = 0
    equal: int = 0
    against: int = 0
    """Rows whose rejected answer has the larger score, or whose margin is negative."""
    equal_places: list[str] = field(default_factory=list)
    against_places: list[str] = field(default_factory=list)

    def add(self, margin: float, where: str) -> None:
        """Count a row by its margin: the score of the chosen answer minus that of the rejected one."""
        self.rows += 1
        if margin > 0:
            return
        places = self.against_places if margin < 0 else self.equal_places
        if margin < 0:
            self.against += 1
        else:
            self.equal += 1
        if len(places) < _EXAMPLES:
            places.append(where)


class RowScores:
    """The scores of one source's rows, by the names of their columns."""

    def __init__(self) -> None:
        self.counts: dict[str, ScoreCounts] = {}
        self._names: KeysView[object] = {}.keys()
        self._columns: list[tuple[str, ...]] = []

    def see(self, row: object, where: str) -> None:
        """Count a row as it was read, if it has such columns with numbers in them."""
        if not isinstance(row, dict):
            return
        if row.keys() != self._names:  # most rows have the columns of the row before
            self._names = row.keys()
            self._columns = score_columns(tuple(row))
        for columns in self._columns:
            numbers = [_number(row[name]) for name in columns]
            margin = numbers[0] - numbers[1] if len(numbers) == 2 else numbers[0]
            if not math.isnan(margin):
                label = " and ".join(columns)
                self.counts.setdefault(label, ScoreCounts()).add(margin, where)


def score_columns(names: tuple[object, ...]) -> list[tuple[str, ...]]:
    """Return the names of two columns with the scores of both answers, and those of margins alone."""
    texts = [name for name in names if isinstance(name, str)]
    columns: list[tuple[str, ...]] = []
    for name in texts:
        lower = name.lower()
        other = name.replace(_CHOSEN, _REJECTED).replace(_CHOSEN.title(), _REJECTED.title())
        if other != name and other in texts and _SCORE.search(lower.replace("_", " ")):
            columns.append((name, other))
        elif _MARGIN.fullmatch(lower):
            columns.append((name,))
    return columns


def _number(value: object) -> float:
    """Return a number, also one that a CSV file spells out, and NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except ValueError:
        return math.nan
