"""Folders of data files on this machine."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

from dpo_core.errors import DataError
from dpo_core.preferences.files.choose_files import choose_files
from dpo_core.preferences.files.formats import read_file
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.files.readme import (
    MAX_README_BYTES,
    README,
    NamedDataSet,
    named_data_sets,
)
from dpo_core.settings import ReadingSettings

_MOST_FILES = 100_000


def folder_records(folder: Path, reading: ReadingSettings) -> Iterator[Record]:
    """Return the records of the files that a source reads of a folder, in the order of their names.

    Raises:
        DataError: There is no such file, or it is a link out of the folder.
    """
    chosen = choose_files(file_names(folder), readme_data_sets(folder), reading, str(folder))
    files = [folder / name for name in chosen]
    for file in files:
        refuse_link_out(file, folder)
    return (record for file in files for record in read_file(file))


def file_names(folder: Path) -> Iterator[str]:
    """Yield every file of a folder, with `/` between folders; links to folders are not followed."""
    count = 0
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        count += len(files)
        if count > _MOST_FILES:
            raise DataError(
                f"{folder}: holds more than {_MOST_FILES} files; give the folder of the data, or a file"
            )
        yield from ((Path(parent) / name).relative_to(folder).as_posix() for name in files)


def readme_data_sets(folder: Path) -> list[NamedDataSet]:
    """Return the data sets that the folder's README names. Raises DataError as `named_data_sets`."""
    readme = folder / README
    if not readme.is_file():
        return []
    refuse_link_out(readme, folder)
    with readme.open("rb") as file:
        text = file.read(MAX_README_BYTES).decode(errors="replace")
    return named_data_sets(text, str(readme))


def refuse_link_out(file: Path, folder: Path) -> None:
    """Raise DataError if a file is a link out of its folder, other than into a hub cache's own files."""
    target = file.resolve()
    if target.is_relative_to(folder.resolve()):
        return
    blobs = _blobs(folder)
    if blobs is None or not target.is_relative_to(blobs):
        raise DataError(
            f"{file}: is a link to {target}, which is outside of the folder; give that file's own path, "
            "or copy it here"
        )


def _blobs(folder: Path) -> Path | None:
    """Return where the hub's cache keeps the files to which those of a snapshot are links.

    A snapshot is <repository>/snapshots/<commit>, and its files are in <repository>/blobs.
    """
    whole = folder.resolve()
    for snapshot in (whole, *whole.parents):
        blobs = snapshot.parent.parent / "blobs"
        if snapshot.parent.name == "snapshots" and blobs.is_dir() and not blobs.is_symlink():
            return blobs
    return None


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
