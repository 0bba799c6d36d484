"""Data sets of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dpo_core.errors import DataError
from dpo_core.preferences.files.folders import nearest_names
from dpo_core.preferences.files.formats import READERS
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.files.saved import dataset_records, first_line


def hub_records(path: str, split: str) -> Iterator[Record]:
    """Return the records of one split. Raises DataError, also if the hub cannot be reached."""
    from datasets import load_dataset

    try:
        dataset = load_dataset(path, split=split)
    except Exception as error:  # the hub client, the network and each file format raise their own
        raise DataError(_hub_failure(path, split, error)) from error
    return dataset_records(dataset, f"{path}[{split}]")


def _hub_failure(path: str, split: str, error: Exception) -> str:
    local = Path(path).expanduser()
    reason = f"split {split!r}: {first_line(error)}"
    if local.exists():
        return (
            f"{path}: neither a folder of {', '.join(READERS)} files nor a data set that "
            f"`datasets` can load ({reason}); give the data file itself"
        )
    return (
        f"{path}: no such file or folder{nearest_names(local)}, and the Hugging Face hub did "
        f"not give it ({reason}); check the spelling, sign in or go online, or give a local file"
    )
