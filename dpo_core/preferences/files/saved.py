"""Folders that `save_to_disk` of `datasets` wrote: Arrow files, named by `state.json`.

They are read here, because `datasets` itself opens whatever file `state.json` names.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dpo_core.errors import DataError
from dpo_core.preferences.files.folders import refuse_link_out
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.files.strict_json import parse_json, read_text

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 1024


def is_saved(folder: Path) -> bool:
    """Return whether `save_to_disk` of `datasets` wrote the folder."""
    layouts = {"dataset_dict.json"}, {"dataset_info.json", "state.json"}
    return any(all((folder / name).is_file() for name in names) for names in layouts)


def saved_records(folder: Path, split: str) -> Iterator[Record]:
    """Return the records of one split. Raises DataError if the folder is damaged."""
    if not (folder / "dataset_dict.json").is_file():
        own = _value(folder, "state.json", "_split") or "train"
        if split not in ("train", own):
            raise DataError(f"{folder}: no split {split!r} (found: {own}); set `split`")
        return _records(folder, str(folder), folder)
    splits = _value(folder, "dataset_dict.json", "splits")
    if not isinstance(splits, list) or not all(isinstance(name, str) for name in splits):
        raise _damaged(folder, "dataset_dict.json lists no splits")
    if split not in splits:
        raise DataError(f"{folder}: no split {split!r} (found: {', '.join(splits)}); set `split`")
    return _records(folder / split, f"{folder}[{split}]", folder)


def _records(folder: Path, name: str, whole: Path) -> Iterator[Record]:
    refuse_link_out(folder, whole)
    rows = (row for file in _arrow_files(folder) for row in _rows(file))
    for number, row in enumerate(rows, 1):
        yield Record(row, number, f"{name}, row {number}")


def _arrow_files(folder: Path) -> list[Path]:
    entries = _value(folder, "state.json", "_data_files")
    files = []
    for entry in entries if isinstance(entries, list) else [None]:
        name = entry.get("filename") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name or Path(name).name != name:
            raise _damaged(folder, "state.json names no files of this folder")
        refuse_link_out(folder / name, folder)
        files.append(folder / name)
    return files


def _rows(file: Path) -> Iterator[dict[str, object]]:
    import pyarrow as pa

    try:
        with pa.memory_map(str(file)) as source:
            for batch in _open(source):
                batch.validate(full=True)
                for start in range(0, len(batch), _BATCH_ROWS):
                    yield from batch.slice(start, _BATCH_ROWS).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(file, str(error).partition("\n")[0]) from error


def _open(source: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    """Return the batches of an Arrow file, which `datasets` writes as a stream."""
    import pyarrow as pa

    return iter(pa.ipc.open_stream(source))


def _value(folder: Path, name: str, key: str) -> object:
    refuse_link_out(folder / name, folder)
    content = parse_json(read_text(folder / name), folder / name)
    return content.get(key) if isinstance(content, dict) else None


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path}: cannot be read as a saved data set ({reason}); save it again")
