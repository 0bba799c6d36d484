"""Readers of JSON, with one object a line or as one list; they yield records with file and line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dpo_core.errors import DataError
from dpo_core.preferences.files.strict_json import (
    decode_line,
    empty_file,
    parse_json,
    read_lines,
    read_text,
)
from dpo_core.preferences.messages import preview


class Record(NamedTuple):
    """A row of a data file, read but not checked."""

    row: Any
    """The content, or a DataError for a line that cannot be read while others can."""
    line: int
    where: str


def read_jsonl(path: Path) -> Iterator[Record]:
    """Yield the record of each line that is not blank, which is a JSON object.

    One line is in memory at a time.
    """
    rows = 0
    for number, line in read_lines(path):
        if not line.strip():
            continue
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
    """Yield records from a JSON list of objects, or from the one list that is a value of an object.

    A file that has an object on its first line and more lines is read as .jsonl, as `datasets` does.
    """
    if _is_jsonl(path):
        yield from read_jsonl(path)
        return
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


def _is_jsonl(path: Path) -> bool:
    lines = ((number, line) for number, line in read_lines(path) if line.strip())
    number, first = next(lines, (0, b""))
    if not first.lstrip().startswith(b"{") or next(lines, None) is None:
        return False
    return isinstance(_json_line(first, path, number), dict)
