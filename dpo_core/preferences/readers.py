"""One reader for each kind of data file; all of them give records that know where they are from."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dpo_core.errors import DataError
from dpo_core.preferences.messages import preview
from dpo_core.preferences.strict_json import (
    MAX_LINE_BYTES,
    decode_line,
    empty_file,
    parse_json,
    read_lines,
    read_text,
)

_BATCH_ROWS = 1024
# Text packs to a tenth. Small files may pack better, and are small unpacked, too.
_MOST_UNPACKED_TIMES, _MOST_UNPACKED_BYTES = 100, 64 * 2**20


class Record(NamedTuple):
    """A row as it was read, not yet checked."""

    row: Any
    """The content; or a DataError, for a line that could not be read though others can."""
    line: int
    where: str


def read_file(path: Path) -> Iterator[Record]:
    """The records of a data file. Raises DataError, also for an ending that nobody reads."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path}: ending {path.suffix!r} is not one of {', '.join(READERS)}; "
            "convert the file (or unpack it) first"
        )
    return reader(path)


def read_jsonl(path: Path) -> Iterator[Record]:
    """One JSON object a line; blank lines only at the end. One line is in memory at a time."""
    rows, blank = 0, 0
    for number, line in read_lines(path):
        if not line.strip():
            blank = blank or number
            continue
        if blank:
            error = DataError(f"{path}:{blank}: blank line between rows; remove it")
            yield Record(error, blank, f"{path}:{blank}")
            blank = 0
        rows += 1
        yield Record(_json_line(line, path, number), number, f"{path}:{number}")
    if not rows:
        raise empty_file(path)


def _json_line(line: bytes, path: Path, number: int) -> Any:
    try:
        return parse_json(decode_line(line, path, number).rstrip("\r\n"), path, number)
    except DataError as error:
        return error


def read_json(path: Path) -> Iterator[Record]:
    """A list of objects, or an object in which exactly one value is a list."""
    content = parse_json(read_text(path), path)
    values = list(content.values()) if isinstance(content, dict) else [content]
    lists = [value for value in values if isinstance(value, list)]
    if len(lists) != 1:
        raise DataError(
            f"{path}: {len(lists)} lists in {preview(content)}; a .json file is one list of objects, "
            "or an object holding one such list (one object a line is .jsonl)"
        )
    for number, row in enumerate(lists[0], 1):
        yield Record(row, number, f"{path}, item {number}")


def read_csv(path: Path) -> Iterator[Record]:
    """Cells are strings; a cell that begins with `[{` is a JSON list of messages."""
    rows = _csv_rows(path)
    _, header = next(rows)
    if len(set(header)) < len(header):
        raise DataError(
            f"{path}:1: two columns have the same name ({', '.join(header)}); rename one"
        )
    for line, cells in rows:
        if len(cells) != len(header):
            raise DataError(
                f"{path}:{line}: {len(cells)} cells under {len(header)} columns; "
                "quote cells that hold commas, quotes or line breaks"
            )
        row: dict[str, Any] = dict(zip(header, cells, strict=True))
        yield Record(row | _messages(row, path, line), line, f"{path}:{line}")


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, each with the line it begins on; one row is in memory at a time."""
    csv.field_size_limit(MAX_LINE_BYTES)
    lines = (decode_line(line, path, number) for number, line in read_lines(path))
    reader = csv.reader(lines, strict=True)
    line, rows = 1, 0
    try:
        for cells in reader:
            if len(cells) > 1 or (cells and cells[0].strip()):
                rows += 1
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{line}: {error}; correct the row, or use .jsonl") from None
    if not rows:
        raise empty_file(path)


def _messages(row: dict[str, str], path: Path, line: int) -> dict[str, Any]:
    """The cells that hold messages, parsed."""
    cells = {name: row.get(name, "") for name in ("prompt", "chosen", "rejected")}
    found = [name for name, cell in cells.items() if cell.startswith("[{")]
    try:
        return {name: parse_json(cells[name], path, line) for name in found}
    except DataError as error:
        raise DataError(
            f"{error} (a cell of {'/'.join(found)} that begins with [{{ is read as JSON messages)"
        ) from None


def read_parquet(path: Path) -> Iterator[Record]:
    """Rows of an Apache Parquet file, numbered from 1. A batch of them is in memory at a time."""
    from pyarrow import ArrowException, parquet

    try:
        file = parquet.ParquetFile(path)
        _refuse_bomb(file.metadata, path)
        batches = file.iter_batches(_BATCH_ROWS)
        rows = (row for batch in batches for row in batch.to_pylist())
        for number, row in enumerate(rows, 1):
            yield Record(row, number, f"{path}, row {number}")
    except (ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: cannot be read as Parquet ({reason}); write it again") from error


def _refuse_bomb(metadata: Any, path: Path) -> None:
    """Raise DataError for a file that says of itself that it unpacks to far more than it is."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    packed = sum(chunk.total_compressed_size for chunk in chunks)
    unpacked = sum(chunk.total_uncompressed_size for chunk in chunks)
    if unpacked > max(_MOST_UNPACKED_BYTES, _MOST_UNPACKED_TIMES * packed):
        raise DataError(
            f"{path}: unpacks to {unpacked // 2**20} MiB, more than {_MOST_UNPACKED_TIMES} times its "
            "size, as no text does; write it again from its source"
        )


READERS: dict[str, Callable[[Path], Iterator[Record]]] = {
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".parquet": read_parquet,
    ".csv": read_csv,
}
