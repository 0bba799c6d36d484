"""The formats of data files, each with its reader, by the ending of a file's name.

Tested in tests/unit/dpo_core/preferences/files/test_readers.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

from dpo_core.errors import DataError
from dpo_core.preferences.files.csv_rows import read_csv
from dpo_core.preferences.files.parquet_rows import read_parquet
from dpo_core.preferences.files.readers import Record, read_json, read_jsonl
from dpo_core.preferences.files.unpack import COMPRESSIONS

READERS: dict[str, Callable[[Path], Iterator[Record]]] = {
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".parquet": read_parquet,
    ".csv": read_csv,
    ".tsv": read_csv,
}
ENDINGS = f"{', '.join(READERS)}, and all but .parquet with {' or '.join(COMPRESSIONS)} behind it"


def without_ending(name: str) -> str:
    """Return the name of a data file without the ending that says its format and compression."""
    path = PurePath(name)
    return PurePath(path.stem).stem if path.suffix.lower() in COMPRESSIONS else path.stem


def reader_of(name: str) -> Callable[[Path], Iterator[Record]] | None:
    """Return the reader of a file of that name, or None if its ending has none."""
    path = PurePath(name.lower())
    if path.suffix not in COMPRESSIONS:
        return READERS.get(path.suffix)
    reader = READERS.get(PurePath(path.stem).suffix)
    return None if reader is read_parquet else reader


def read_file(path: Path) -> Iterator[Record]:
    """Yield the records of a data file. Raises DataError, also for an ending without a reader."""
    reader = reader_of(path.name)
    if reader is None:
        raise DataError(
            f"{path}: ending {path.suffix!r} is not one of {ENDINGS}; convert the file first"
        )
    return reader(path)
