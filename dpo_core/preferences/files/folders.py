"""Folders of data files, and which of their files belong to a split."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from dpo_core.errors import DataError
from dpo_core.preferences.files.formats import READERS

_SHARD = re.compile(r"(?P<name>.+?)([-_.]\d+([-_]of[-_]\d+)?)?")
_SPLIT_WORDS = ("train", "test", "valid", "val", "dev", "eval")


def data_files(folder: Path) -> list[Path]:
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


def files_of_split(files: list[Path], split: str) -> list[Path]:
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


def nearest_names(path: Path) -> str:
    """Return the names most like the first part of `path` that does not exist, for a message."""
    missing = path.absolute()
    while not missing.parent.exists():
        missing = missing.parent
    if not missing.parent.is_dir():
        return f" ({missing.parent} is a file)"
    names = [entry.name for entry in missing.parent.iterdir()]
    nearest = difflib.get_close_matches(missing.name, names)
    return f" (nearest in {missing.parent}: {', '.join(nearest)})" if nearest else ""
