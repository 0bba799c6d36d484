"""Folders that `save_to_disk` of `datasets` wrote: Arrow files, named by `state.json`.

They are read here, because `datasets` itself opens whatever file `state.json` names.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dpo_core.errors import DataError
from dpo_core.preferences.files.arrow_messages import is_compressed
from dpo_core.preferences.files.cell_sizes import check_count, check_size, leaves_of
from dpo_core.preferences.files.folders import refuse_link_out
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.files.strict_json import parse_json, read_text
from dpo_core.preferences.files.unpack import most_unpacked_bytes, unpacks_too_far

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
            for rows in _batches(source, file):
                yield from rows.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(file, str(error).partition("\n")[0]) from error


def _batches(source: pa.NativeFile, file: Path) -> Iterator[pa.RecordBatch]:
    """Yield an Arrow file, which `datasets` writes as a stream, in batches of rows.

    Raises:
        DataError: The file stores values in a way that `datasets` does not, by which a small file can
            fill the memory, or its rows take far more memory than the file has bytes.
    """
    import pyarrow as pa

    if any(is_compressed(message) for message in pa.ipc.MessageReader.open_stream(source)):
        raise _damaged(file, "its buffers are compressed, as `save_to_disk` writes none")
    source.seek(0)
    stream = pa.ipc.open_stream(source)
    for field in stream.schema:
        if not _is_plain(field.type):
            raise _damaged(file, f"column {field.name!r} is stored as {field.type}")
    bytes_of_file, bytes_of_rows, values = source.size(), 0, 0
    for batch in stream:
        batch.validate(full=True)
        for start in range(0, len(batch), _BATCH_ROWS):
            rows = batch.slice(start, _BATCH_ROWS)
            leaves = list(leaves_of(rows))
            values += max([len(rows), *map(len, leaves)])
            check_count(values, bytes_of_file, file)
            bytes_of_rows += sum(check_size(leaf, file) for leaf in leaves)
            if bytes_of_rows > most_unpacked_bytes(bytes_of_file):
                raise unpacks_too_far(file, bytes_of_rows)
            yield rows


def _is_plain(kind: pa.DataType) -> bool:
    """Return whether each row of such a column holds bytes of its own, or names a dictionary's."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return _is_plain(kind.value_type) and not types.is_nested(kind.value_type)
    if types.is_struct(kind):
        return all(_is_plain(field.type) for field in kind)
    lists = types.is_list, types.is_large_list, types.is_fixed_size_list
    if any(is_list(kind) for is_list in lists):
        return _is_plain(kind.value_type)
    if types.is_map(kind):
        return _is_plain(kind.key_type) and _is_plain(kind.item_type)
    if hasattr(kind, "storage_type"):
        return _is_plain(kind.storage_type)
    views = types.is_string_view, types.is_binary_view
    return not types.is_nested(kind) and not any(is_view(kind) for is_view in views)


def _value(folder: Path, name: str, key: str) -> object:
    refuse_link_out(folder / name, folder)
    content = parse_json(read_text(folder / name), folder / name)
    return content.get(key) if isinstance(content, dict) else None


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path}: cannot be read as a saved data set ({reason}); save it again")
