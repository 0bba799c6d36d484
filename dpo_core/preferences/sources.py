"""Sources of pairs: a file, a folder of files, a saved data set, or the Hugging Face hub."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from dpo_core.errors import DataError
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.files.source_records import source_records
from dpo_core.preferences.formatted.rows import read_formatted
from dpo_core.preferences.golden import read_golden
from dpo_core.preferences.messages import preview
from dpo_core.preferences.pairs import PreferencePair, number_repeats
from dpo_core.preferences.parse_row import pair_from_row
from dpo_core.preferences.rankings import annotator_agreement, ranking_pairs, read_ranking
from dpo_core.preferences.red_team import read_red_team, red_team_pairs
from dpo_core.preferences.table import PairTable
from dpo_core.settings import SourceSettings

T = TypeVar("T")


@dataclass(frozen=True)
class LoadedData:
    """The pairs of all sources, each labelled with its source, and notes on how they were read."""

    pairs: PairTable
    agreement: dict[str, float]
    """Krippendorff's α by source, for rankings of several annotators."""
    skipped: tuple[str, ...] = ()
    """One message for each row that was left out, with file, line and reason."""
    fixed_splits: Mapping[str, PairTable] = field(default_factory=dict)
    """The pairs of each split that is read from its own file, by split."""


def load_data(sources: Sequence[SourceSettings], *, skip_bad_rows: bool = False) -> LoadedData:
    """Read every pair of every source. Raises DataError, also for a source that gives no pair."""
    agreement: dict[str, float] = {}
    skipped: list[str] = []

    def pairs_of(source: SourceSettings) -> Iterator[PreferencePair]:
        rows = _RowReader(_records(source), skip_bad_rows, skipped)
        skipped_before, empty = len(skipped), True
        for pair in _pairs(source, rows, agreement):
            empty = False
            yield replace(pair, source=source.label)
        if empty:
            raise DataError(_no_pair(source, skipped[skipped_before:]))

    # Pairs go one by one from the file of the source to a file of pairs.
    pairs = PairTable.of(number_repeats(pair for each in sources for pair in pairs_of(each)))
    return LoadedData(pairs, agreement, tuple(skipped))


def load_pairs(path: str, *, split: str = "train") -> list[PreferencePair]:
    """Read every pair of one source of pairs, checked, with unique and stable ids.

    `split` names a part of a hub data set, of a saved DatasetDict, or of a folder whose files are
    named for their split (`train.jsonl`, `test-00000-of-00002.parquet`). Raises DataError.
    """
    return list(load_data([SourceSettings(path=path, split=split)]).pairs)


def _records(source: SourceSettings) -> Iterator[Record]:
    records = source_records(source.path, source.split)
    return read_formatted(records, source.format, source.path) if source.format else records


class _RowReader:
    """Reads the records of a source; a bad record raises its error, or is skipped and noted."""

    def __init__(self, records: Iterator[Record], skip: bool, skipped: list[str]) -> None:
        self.records, self.skip, self.skipped = records, skip, skipped

    def parse(self, read: Callable[[Record], T]) -> Iterator[T]:
        """Yield what `read` makes of each record."""
        for record in self.records:
            try:
                if isinstance(record.row, DataError):
                    raise record.row
                result = read(record)
            except DataError as error:
                if not self.skip:
                    raise
                self.skipped.append(str(error))
            else:
                yield result


def _pairs(
    source: SourceSettings, rows: _RowReader, agreement: dict[str, float]
) -> Iterable[PreferencePair]:
    """Return the pairs of a source by its kind, and add the annotators' agreement, if any.

    Pairs and golden answers are read one at a time; kinds that compare the rows of a prompt are read
    as a whole.
    """
    cap = source.pairs_per_prompt
    if source.kind == "pairs":
        return rows.parse(_pair)
    if source.kind == "golden":
        return rows.parse(read_golden)
    if source.kind == "red_team":
        return red_team_pairs(list(rows.parse(read_red_team)), pairs_per_prompt=cap)
    rankings = list(rows.parse(read_ranking))
    alpha = annotator_agreement(rankings)
    if alpha is not None:
        agreement[source.label] = alpha
    return ranking_pairs(rankings, rule=source.rule, pairs_per_prompt=cap, min_gap=source.min_gap)


def _no_pair(source: SourceSettings, skipped: list[str]) -> str:
    if skipped:
        return f"{source.path}: every row is bad, {len(skipped)} in all; the first: {skipped[0]}"
    if source.kind == "pairs":
        return f"{source.path}: holds no rows; it must hold at least one preference pair"
    return f"{source.path}: gives no pair ({source.kind}); it must give at least one"


def data_fingerprint(ids: Iterable[str]) -> str:
    """Return the SHA-256 (64 hex digits) of the ids of pairs, whatever their order."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def _pair(record: Record) -> PreferencePair:
    if not isinstance(record.row, dict):
        raise DataError(
            f"{record.where}: {preview(record.row)} must be a JSON object with the keys "
            "prompt, chosen and rejected"
        )
    return pair_from_row(record.row, where=record.where, line=record.line)
