"""Readers of data files, one for each format; each yields records with file and line."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dpo_core.errors import DataError
from dpo_core.preferences.files.strict_json import (
    MAX_LINE_BYTES,
    decode_line,
    empty_file,
    parse_json,
    read_lines,
    read_text,
)
from dpo_core.preferences.messages import preview

if TYPE_CHECKING:
    from pyarrow.parquet import FileMetaData

_BATCH_ROWS = 1024
# Text compresses to about a tenth. Small files may compress better, but are small unpacked, too.
_MAX_UNPACKED_RATIO, _MAX_UNPACKED_BYTES = 100, 64 * 2**20


class Record(NamedTuple):
    """A row of a data file, read but not checked."""

    row: Any
    """The content, or a DataError for a line that cannot be read while others can."""
    line: int
    where: str


def read_file(path: Path) -> Iterator[Record]:
    """Yield the records of a data file. Raises DataError, also for an ending without a reader."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path}: ending {path.suffix!r} is not one of {', '.join(READERS)}; "
            "convert the file (or unpack it) first"
        )
    return reader(path)


def read_jsonl(path: Path) -> Iterator[Record]:
    """Yield the record of each line, which is a JSON object; blank lines may stand at the end only.

    One line is in memory at a time.
    """
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
    """Yield records from a JSON list of objects, or from the one list that is a value of an object."""
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
    """Yield records of strings; a cell that begins with `[{` is parsed as a JSON list of messages."""
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
    """Yield rows that are not blank, each with the line it begins on; one row is in memory at a time."""
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
    """Return the parsed content of the cells that are JSON lists of messages."""
    cells = {name: row.get(name, "") for name in ("prompt", "chosen", "rejected")}
    names = [name for name, cell in cells.items() if cell.startswith("[{")]
    try:
        return {name: parse_json(cells[name], path, line) for name in names}
    except DataError as error:
        raise DataError(
            f"{error} (a cell of {'/'.join(names)} that begins with [{{ is read as JSON messages)"
        ) from None


def read_parquet(path: Path) -> Iterator[Record]:
    """Yield the rows of an Apache Parquet file, from number 1; one batch is in memory at a time."""
    from pyarrow import ArrowException, parquet

    try:
        file = parquet.ParquetFile(path)
        _refuse_decompression_bomb(file.metadata, path)
        batches = file.iter_batches(_BATCH_ROWS)
        rows = (row for batch in batches for row in batch.to_pylist())
        for number, row in enumerate(rows, 1):
            yield Record(row, number, f"{path}, row {number}")
    except (ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: cannot be read as Parquet ({reason}); write it again") from error


def _refuse_decompression_bomb(metadata: FileMetaData, path: Path) -> None:
    """Raise DataError if the file's own metadata gives an unpacked size far beyond its packed size."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    packed = sum(chunk.total_compressed_size for chunk in chunks)
    unpacked = sum(chunk.total_uncompressed_size for chunk in chunks)
    if unpacked > max(_MAX_UNPACKED_BYTES, _MAX_UNPACKED_RATIO * packed):
        raise DataError(
            f"{path}: unpacks to {unpacked // 2**20} MiB, more than {_MAX_UNPACKED_RATIO} times its "
            "size, as no text does; write it again from its source"
        )


READERS: dict[str, Callable[[Path], Iterator[Record]]] = {
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".parquet": read_parquet,
    ".csv": read_csv,
}
