"""The records of a source: a file, a folder of files, a saved data set or a data set of the hub."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from dpo_core.errors import DataError
from dpo_core.preferences.files.folders import folder_records, nearest_names
from dpo_core.preferences.files.formats import read_file, reader_of
from dpo_core.preferences.files.hub import hub_records
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.files.saved import is_saved, saved_records
from dpo_core.settings import HUB, SourceSettings

_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def source_records(source: SourceSettings) -> Iterator[Record]:
    """Return the records that a source reads, the first `limit` of them.

    A path asks the hub only where it begins with `hf://`: a name that is spelled wrong must not fetch
    the data of a stranger.

    Raises:
        DataError: There is no such source.
    """
    return itertools.islice(_all_records(source), source.limit)


def _all_records(source: SourceSettings) -> Iterator[Record]:
    if source.path.startswith(HUB):
        return hub_records(source)
    local = Path(source.path).expanduser()
    if local.is_file():
        _refuse_keys(source, local, "split", "subset", "data_files")
        return read_file(local)
    if is_saved(local):
        _refuse_keys(source, local, "subset", "data_files")
        return saved_records(local, source.split)
    if local.is_dir():
        return folder_records(local, source)
    hint = ""
    if _REPOSITORY.fullmatch(source.path) and reader_of(source.path) is None:
        hint = f", or write {HUB}{source.path} for that data set of the Hugging Face hub"
    raise DataError(
        f"{source.path}: no such file or folder{nearest_names(local)}; check the spelling{hint}"
    )


def _refuse_keys(source: SourceSettings, path: Path, *names: str) -> None:
    for name in names:
        value = getattr(source, name)
        if value != type(source).model_fields[name].default:
            kind = "a file" if path.is_file() else "a saved data set"
            raise DataError(f"{path}: {kind} has no {name} {value!r}; leave `{name}` out")
