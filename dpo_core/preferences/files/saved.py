"""Folders that `save_to_disk` of `datasets` wrote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from dpo_core.errors import DataError
from dpo_core.preferences.files.readers import Record


def is_saved(folder: Path) -> bool:
    """Return whether `save_to_disk` of `datasets` wrote the folder."""
    layouts = {"dataset_dict.json"}, {"dataset_info.json", "state.json"}
    return any(all((folder / name).is_file() for name in names) for names in layouts)


def saved_records(folder: Path, split: str) -> Iterator[Record]:
    """Return the records of one split. Raises DataError if the folder is damaged."""
    from datasets import DatasetDict, load_from_disk

    try:
        saved = load_from_disk(str(folder))
    except Exception as error:  # damaged files raise whatever Arrow, json or the disk raise
        raise DataError(
            f"{folder}: cannot be read as a saved data set ({first_line(error)}); save it again"
        ) from error
    parts = saved if isinstance(saved, DatasetDict) else {str(saved.split or "train"): saved}
    if not isinstance(saved, DatasetDict) and split == "train":
        return dataset_records(saved, str(folder))
    if split not in parts:
        raise DataError(f"{folder}: no split {split!r} (found: {', '.join(parts)}); set `split`")
    return dataset_records(parts[split], f"{folder}[{split}]")


def dataset_records(dataset: Iterable[object], name: str) -> Iterator[Record]:
    """Yield the rows of a data set of `datasets`; `name` is the data set's, for messages."""
    for number, row in enumerate(dataset, 1):
        yield Record(row, number, f"{name}, row {number}")


def first_line(error: Exception) -> str:
    """Return the type and first line of an error, whose text may be long or empty."""
    line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
