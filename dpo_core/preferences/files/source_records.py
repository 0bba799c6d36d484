"""The records of a source: a file, a folder of files, a saved data set or a data set of the hub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dpo_core.errors import DataError
from dpo_core.preferences.files.folders import data_files, files_of_split, nearest_names
from dpo_core.preferences.files.formats import READERS, read_file
from dpo_core.preferences.files.hub import hub_records
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.files.saved import is_saved, saved_records

_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def source_records(path: str, split: str) -> Iterator[Record]:
    """Return the records of one split of a source. Raises DataError if there is none."""
    local = Path(path).expanduser()
    if local.is_file():
        return _from_file(local, split)
    if is_saved(local):
        return saved_records(local, split)
    files = data_files(local)
    if files:
        return (record for file in files_of_split(files, split) for record in read_file(file))
    if local.exists() or (_HUB_ID.fullmatch(path) and local.suffix.lower() not in READERS):
        return hub_records(str(local), split)
    raise DataError(f"{path}: no such file or folder{nearest_names(local)}; check the spelling")


def _from_file(file: Path, split: str) -> Iterator[Record]:
    if split != "train":
        raise DataError(f"{file}: a file has no split {split!r}; leave `split` out")
    return read_file(file)
