"""Collects the rows that cannot be used, so that one error or one list tells all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from dpo_core.errors import DataError
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.notes.no_pair import NoPair

EXAMPLES = 5
# A source that begins with so many bad rows and no good one is not read to its end, unless they are
# left out: then the rest may be good.
_HOPELESS = 1_000
_LOCATION = re.compile(r"(?P<file>.+?):(?P<row>\d+): (?P<reason>.*)", re.DOTALL)


class BadRows:
    """The bad rows of all sources; they are left out, or make one error at the end."""

    def __init__(self, skip: bool) -> None:
        """Keep every reason if bad rows are left out, and the first few otherwise."""
        self.skip = skip
        self.count = 0
        self.reasons: list[str] = []

    @property
    def refused(self) -> bool:
        """Return whether there are bad rows that must not be left out."""
        return self.count > 0 and not self.skip

    def add(self, error: DataError) -> None:
        """Note a bad row."""
        self.count += 1
        if self.skip or self.count <= EXAMPLES:
            self.reasons.append(str(error))

    def refuse(self) -> None:
        """Raise DataError with the number of bad rows and the first few, unless they are left out."""
        if not self.refused:
            return
        (first, alike), *others = _told_once(self.reasons)
        number = "1 bad row" if self.count == 1 else f"{self.count:,} bad rows"
        also = f" ({_rows(alike)} alike)" if alike else ""
        rest = [f"{reason} ({_rows(rows)} alike)" if rows else reason for reason, rows in others]
        next_ones = f", the next: {'; '.join(rest)}" if rest else ""
        more = f"; and {self.count - EXAMPLES:,} more" if self.count > EXAMPLES else ""
        them = "it" if self.count == 1 else "them"
        raise DataError(
            f"{first}; {number} in all{also}{next_ones}{more}; correct {them}, or leave {them} out with "
            "data.on_bad_row: skip"
        )


class BadRowsByLine(BadRows):
    """The rows of one source that make no pair, each with its line, to be shown in their places."""

    def __init__(self) -> None:
        super().__init__(skip=True)
        self.errors: list[tuple[int, DataError]] = []
        self.line = 0

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield the records, and note the line of each."""
        for record in records:
            self.line = record.line
            if isinstance(record.row, NoPair):
                self.add(DataError(f"{record.where}: makes no pair ({record.row})"))
            yield record

    def add(self, error: DataError) -> None:
        """Note a bad row."""
        self.errors.append((self.line, error))


class SourceBadRows:
    """The bad rows of one source."""

    def __init__(self, path: str, bad_rows: BadRows) -> None:
        self.path, self.all = path, bad_rows
        self.count, self.first = 0, ""
        self.any_good = False

    def add(self, error: DataError) -> None:
        """Note a bad row. Raises DataError if a source begins with too many that must not be there."""
        self.count += 1
        self.first = self.first or str(error)
        self.all.add(error)
        if self.count >= _HOPELESS and not self.any_good and not self.all.skip:
            raise DataError(
                f"{self.first}; none of the first {self.count:,} rows of {self.path} can be used"
            )

    def refuse_if_all_bad(self) -> None:
        """Raise DataError if there are bad rows and no good one."""
        if self.count and not self.any_good:
            raise DataError(f"{self.first}; every row of {self.path} is bad, {self.count:,} in all")


def _told_once(reasons: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return each reason once, with the other rows of its file that differ in numbers alone."""
    by_words: dict[tuple[str, str], tuple[str, list[str]]] = {}
    for reason in reasons:
        match = _LOCATION.fullmatch(reason)
        file, row, words = match.groups() if match else (reason, "", "")
        alike = (file, re.sub(r"\d+", "#", words))
        if alike in by_words:
            by_words[alike][1].append(row)
        else:
            by_words[alike] = (reason, [])
    return list(by_words.values())


def _rows(numbers: Sequence[str]) -> str:
    return f"row {numbers[0]}" if len(numbers) == 1 else f"rows {', '.join(numbers)}"
