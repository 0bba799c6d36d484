"""Sources of pairs: a file, a folder of files, a saved data set, or the Hugging Face hub."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import TypeVar

from dpo_core.errors import DataError
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.files.source_records import source_records
from dpo_core.preferences.formatted.rows import read_formatted
from dpo_core.preferences.golden import read_golden
from dpo_core.preferences.layouts.classification import ColumnUse
from dpo_core.preferences.layouts.recognition import FIRST_ROWS, recognize
from dpo_core.preferences.layouts.scored import rankings_of_scored, read_scored
from dpo_core.preferences.notes.bad_rows import BadRows, BadRowsByLine, SourceBadRows
from dpo_core.preferences.notes.no_pair import NoPair, NoPairCounts
from dpo_core.preferences.notes.row_scores import RowScores
from dpo_core.preferences.pairs import PreferencePair, number_repeats
from dpo_core.preferences.parse_row import pair_from_row
from dpo_core.preferences.rankings import RankingReader, annotator_agreement, ranking_pairs
from dpo_core.preferences.red_team import read_red_team, red_team_pairs
from dpo_core.preferences.table import PairTable
from dpo_core.settings import SourceSettings

T = TypeVar("T")
_ROW_BY_ROW = ("pairs", "votes", "golden")
"""Shapes of rows of which each makes a pair of its own."""


@dataclass(frozen=True)
class LoadedData:
    """The pairs of all sources, each labelled with its source, and notes on how they were read."""

    pairs: PairTable
    agreement: dict[str, float]
    """Krippendorff's α by source, for rankings of several annotators."""
    skipped: tuple[str, ...] = ()
    """One message for each row that was left out, with file, line and reason."""
    no_pair: Mapping[str, NoPairCounts] = field(default_factory=dict)
    """What made no pair, by source."""
    scores: Mapping[str, RowScores] = field(default_factory=dict)
    """What the scores in the rows of pairs say of them, by source."""
    columns: Mapping[str, ColumnUse] = field(default_factory=dict)
    """What became of the columns, by source."""
    fixed_splits: Mapping[str, PairTable] = field(default_factory=dict)
    """The pairs of each split that is read from its own file, by split."""


def load_data(
    sources: Sequence[SourceSettings],
    *,
    skip_bad_rows: bool = False,
    bad_rows: BadRows | None = None,
) -> LoadedData:
    """Read every pair of every source.

    Args:
        sources: Where the pairs come from.
        skip_bad_rows: Leave out rows that cannot be used; otherwise one error tells how many there are.
        bad_rows: Collects the bad rows of several calls instead; then the caller refuses them.

    Returns:
        The pairs. They are not all there if `bad_rows` must be refused.

    Raises:
        DataError: A source or a row cannot be used, or a source gives no pair.
    """
    bad = BadRows(skip_bad_rows) if bad_rows is None else bad_rows
    readers = [_SourceReader(source, bad) for source in sources]
    # Pairs go one by one from the file of the source to a file of pairs.
    pairs = PairTable.of(number_repeats(pair for reader in readers for pair in reader.labelled()))
    if bad_rows is None:
        bad.refuse()
    return LoadedData(
        pairs,
        {r.label: r.agreement for r in readers if r.agreement is not None},
        tuple(bad.reasons),
        {r.label: r.no_pair for r in readers},
        {r.label: r.scores for r in readers},
        {r.label: r.columns for r in readers if r.columns is not None},
    )


def load_pairs(path: str, *, split: str = "train") -> list[PreferencePair]:
    """Read every pair of one source of pairs, checked, with unique and stable ids.

    `split` names a part of a hub data set, of a saved DatasetDict, or of a folder whose files are
    named for their split (`train.jsonl`, `test-00000-of-00002.parquet`). Raises DataError.
    """
    return list(load_data([SourceSettings(path=path, split=split)]).pairs)


class _SourceReader:
    """Reads one source, and notes what is bad, what makes no pair, and which scores disagree."""

    def __init__(self, source: SourceSettings, bad_rows: BadRows) -> None:
        self.source, self.label = source, source.label
        self.bad_rows = SourceBadRows(source.path, bad_rows)
        self.no_pair = NoPairCounts()
        self.scores = RowScores()
        self.agreement: float | None = None
        self.columns: ColumnUse | None = None

    def labelled(self) -> Iterator[PreferencePair]:
        """Yield the pairs with the label of the source; none once a row is bad and must not be."""
        empty, bad_rows = True, self.bad_rows.all
        for pair in self._pairs(self._open()):
            empty = False
            # The rest is read for its bad rows alone.
            if not bad_rows.refused:
                # Rows of pairs make it with the label, because to copy each takes a tenth of the time.
                yield pair if pair.source == self.label else replace(pair, source=self.label)
        self.bad_rows.refuse_if_all_bad()
        if not bad_rows.refused:
            self.layout.check_names(self.source.path)
        self.columns = self.layout.use()
        if empty and not bad_rows.refused:
            raise DataError(self.gives_no_pair())

    def _pairs(self, records: Iterable[Record]) -> Iterable[PreferencePair]:
        """Return the pairs by what the rows of the source are.

        Pairs and golden answers are read one at a time; kinds that compare the rows of a prompt are
        read as a whole.
        """
        source, no_pair, shape = self.source, self.no_pair, self.layout.shape
        if shape in ("pairs", "votes"):
            return self._parse(self._pair, records)
        if shape == "golden":
            return self._parse(read_golden, records)
        if shape == "labelled":
            responses = list(self._parse(read_red_team, records))
            if self.bad_rows.all.refused:
                return []
            cap = source.pairs_per_prompt
            return red_team_pairs(responses, pairs_per_prompt=cap, no_pair=no_pair)
        if shape == "scored":
            rankings = rankings_of_scored(self._parse(read_scored, records), no_pair)
        else:
            rankings = list(self._parse(RankingReader(no_pair).read, records))
        self.agreement = annotator_agreement(rankings)
        return ranking_pairs(
            rankings,
            rule=source.rule,
            pairs_per_prompt=source.pairs_per_prompt,
            min_gap=source.min_gap,
            no_pair=no_pair,
        )

    def _parse(self, read: Callable[[Record], T], records: Iterable[Record]) -> Iterator[T]:
        """Yield what `read` makes of each record; a bad one, or one that makes no pair, is noted."""
        for record in records:
            self.no_pair.rows += 1
            try:
                if isinstance(record.row, DataError | NoPair):
                    raise record.row
                result = read(record)
            except DataError as error:
                self.bad_rows.add(error)
            except NoPair as reason:
                self.bad_rows.any_good = True
                self.no_pair.add(str(reason), record.where)
            else:
                self.bad_rows.any_good = True
                yield result

    def _open(self) -> Iterator[Record]:
        """Recognize the layout, and return rows of the project's own, with errors in place of others."""
        source = self.source
        records = source_records(source)
        first = list(itertools.islice(records, FIRST_ROWS))
        self.layout = recognize(first, source)
        rows = map(self._read, itertools.chain(first, records))
        return read_formatted(rows, source.format, source.path) if source.format else rows

    def _read(self, record: Record) -> Record:
        try:
            if isinstance(record.row, DataError):
                return record
            read = self.layout.read(record)
            self.scores.see(record.row, record.where)
            return read
        except (DataError, NoPair) as reason:
            return record._replace(row=reason)

    def _pair(self, record: Record) -> PreferencePair:
        return pair_from_row(record.row, where=record.where, line=record.line, source=self.label)

    def gives_no_pair(self) -> str:
        """Return the error of a source without a pair."""
        path, kind = self.source.path, self.source.kind
        if self.no_pair.counts:
            return f"{path}: gives no pair ({kind}), only {self.no_pair}; it must give at least one"
        if kind == "pairs":
            return f"{path}: holds no rows; it must hold at least one preference pair"
        return f"{path}: gives no pair ({kind}); it must give at least one"


def first_rows(source: SourceSettings, rows: int) -> list[PreferencePair | DataError]:
    """Return the pairs of the first rows of a source, with the errors of bad rows in their places.

    Kinds that compare the rows of a prompt are read as a whole, the others no further than needed.

    Args:
        source: Where the pairs come from.
        rows: The most pairs and errors to return.

    Returns:
        Pairs and errors in the order of the file.

    Raises:
        DataError: The source cannot be read, or holds no rows.
    """
    bad_rows = BadRowsByLine()
    reader = _SourceReader(source, bad_rows)
    records = reader._open()
    if reader.layout.shape in _ROW_BY_ROW:
        records = itertools.islice(records, rows)
    by_line: list[tuple[int, PreferencePair | DataError]] = [
        (pair.line, replace(pair, source=source.label))
        for pair in reader._pairs(bad_rows.watch(records))
    ]
    by_line = sorted([*by_line, *bad_rows.errors], key=itemgetter(0))
    if not by_line:
        raise DataError(reader.gives_no_pair())
    return [row for _, row in by_line[:rows]]


def data_fingerprint(ids: Iterable[str]) -> str:
    """Return the SHA-256 (64 hex digits) of the ids of pairs, whatever their order."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
