"""Sources of pairs: a file, a folder of files, a saved data set, or the Hugging Face hub."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from dpo_core.errors import DataError
from dpo_core.preferences.golden import read_golden
from dpo_core.preferences.messages import preview
from dpo_core.preferences.pairs import PreferencePair, number_repeats
from dpo_core.preferences.parse_row import pair_from_row
from dpo_core.preferences.rankings import annotator_agreement, ranking_pairs, read_ranking
from dpo_core.preferences.readers import READERS, Record, read_file
from dpo_core.preferences.red_team import read_red_team, red_team_pairs
from dpo_core.preferences.table import PairTable
from dpo_core.settings import SourceSettings

T = TypeVar("T")
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_SHARD = re.compile(r"(?P<name>.+?)([-_.]\d+([-_]of[-_]\d+)?)?")
_SPLIT_WORDS = ("train", "test", "valid", "val", "dev", "eval")


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
        rows = _RowReader(_records(source.path, source.split), skip_bad_rows, skipped)
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


def _records(path: str, split: str) -> Iterator[Record]:
    local = Path(path).expanduser()
    if local.is_file():
        return _from_file(local, split)
    if _is_saved(local):
        return _from_saved(local, split)
    files = _data_files(local)
    if files:
        return (record for file in _files_of(files, split) for record in read_file(file))
    if local.exists() or (_HUB_ID.fullmatch(path) and local.suffix.lower() not in READERS):
        return _from_hub(str(local), split)
    raise DataError(f"{path}: no such file or folder{_nearest(local)}; check the spelling")


def _from_file(file: Path, split: str) -> Iterator[Record]:
    if split != "train":
        raise DataError(f"{file}: a file has no split {split!r}; leave `split` out")
    return read_file(file)


# A folder of files


def _data_files(folder: Path) -> list[Path]:
    """Return the data files directly in `folder`, sorted by name; none if it is not a folder."""
    if not folder.is_dir():
        return []
    description = "dataset_infos.json"  # written by the hub, no data
    files = sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in READERS and file.name != description and file.name[0] != "."
    )
    for file in files:
        if not file.resolve().is_relative_to(folder.resolve()):
            raise DataError(
                f"{file}: is a link to {file.resolve()}, which is outside of the folder; give that "
                "file's own path, or copy it here"
            )
    return files


def _files_of(files: list[Path], split: str) -> list[Path]:
    """Return the files named for a split, or all files where none is named for any split."""
    names = {file: _split_name(file) for file in files}
    chosen = [file for file in files if names[file] == split]
    if chosen:
        return chosen
    if split == "train" and not any(name.startswith(_SPLIT_WORDS) for name in names.values()):
        return files
    raise DataError(
        f"{files[0].parent}: no file is named for split {split!r} "
        f"(found: {', '.join(file.name for file in files)}); set `split`, or name one file"
    )


def _split_name(file: Path) -> str:
    """Return the split in a file name: `train` for train.jsonl and train-00000-of-00002.parquet."""
    match = _SHARD.fullmatch(file.stem)
    return match["name"] if match else file.stem


# Folders and hub data sets of the `datasets` library


def _is_saved(folder: Path) -> bool:
    """Return whether `save_to_disk` of `datasets` wrote the folder."""
    layouts = {"dataset_dict.json"}, {"dataset_info.json", "state.json"}
    return any(all((folder / name).is_file() for name in names) for names in layouts)


def _from_saved(folder: Path, split: str) -> Iterator[Record]:
    from datasets import DatasetDict, load_from_disk

    try:
        saved = load_from_disk(str(folder))
    except Exception as error:  # damaged files raise whatever Arrow, json or the disk raise
        raise DataError(
            f"{folder}: cannot be read as a saved data set ({_reason(error)}); save it again"
        ) from error
    parts = saved if isinstance(saved, DatasetDict) else {str(saved.split or "train"): saved}
    if not isinstance(saved, DatasetDict) and split == "train":
        return _rows(saved, str(folder))
    if split not in parts:
        raise DataError(f"{folder}: no split {split!r} (found: {', '.join(parts)}); set `split`")
    return _rows(parts[split], f"{folder}[{split}]")


def _from_hub(path: str, split: str) -> Iterator[Record]:
    from datasets import load_dataset

    try:
        dataset = load_dataset(path, split=split)
    except Exception as error:  # the hub client, the network and each file format raise their own
        raise DataError(_hub_failure(path, split, error)) from error
    return _rows(dataset, f"{path}[{split}]")


def _hub_failure(path: str, split: str, error: Exception) -> str:
    local = Path(path).expanduser()
    reason = f"split {split!r}: {_reason(error)}"
    if local.exists():
        return (
            f"{path}: neither a folder of {', '.join(READERS)} files nor a data set that "
            f"`datasets` can load ({reason}); give the data file itself"
        )
    return (
        f"{path}: no such file or folder{_nearest(local)}, and the Hugging Face hub did not give it "
        f"({reason}); check the spelling, sign in or go online, or give a local file"
    )


def _rows(dataset: Iterable[object], name: str) -> Iterator[Record]:
    for number, row in enumerate(dataset, 1):
        yield Record(row, number, f"{name}, row {number}")


def _reason(error: Exception) -> str:
    """Return the type and first line of an error, whose text may be long or empty."""
    line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def _nearest(path: Path) -> str:
    """Return the names most like the first part of `path` that does not exist, for a message."""
    missing = path.absolute()
    while not missing.parent.exists():
        missing = missing.parent
    if not missing.parent.is_dir():
        return f" ({missing.parent} is a file)"
    names = [entry.name for entry in missing.parent.iterdir()]
    nearest = difflib.get_close_matches(missing.name, names)
    return f" (nearest in {missing.parent}: {', '.join(nearest)})" if nearest else ""
