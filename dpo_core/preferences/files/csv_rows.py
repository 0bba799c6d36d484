"""The reader of tables in text: cells between commas, semicolons or tabs.

Tested in tests/unit/dpo_core/preferences/files/test_readers.py.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from dpo_core.errors import DataError
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.files.strict_json import (
    MAX_LINE_BYTES,
    decode_line,
    empty_file,
    read_lines,
)

_DELIMITERS = ",;\t"
_QUOTED = re.compile(r'"[^"]*"')


def read_csv(path: Path) -> Iterator[Record]:
    """Yield records of strings. Their cells are divided by what divides the names of the columns."""
    rows = _rows(path)
    _, header = next(rows)
    if len(set(header)) < len(header):
        raise DataError(
            f"{path}:1: two columns have the same name ({', '.join(header)}); rename one"
        )
    for line, cells in rows:
        where = f"{path}:{line}"
        if len(cells) == len(header):
            yield Record(dict(zip(header, cells, strict=True)), line, where)
            continue
        error = DataError(
            f"{where}: {len(cells)} cells under {len(header)} columns; "
            "quote cells that hold commas, quotes or line breaks"
        )
        yield Record(error, line, where)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield rows that are not blank, each with the line it begins on; one row is in memory at a time."""
    csv.field_size_limit(MAX_LINE_BYTES)
    lines = (decode_line(line, path, number) for number, line in read_lines(path))
    first = next(lines, "")
    reader = csv.reader(itertools.chain([first], lines), delimiter=_delimiter(first), strict=True)
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


def _delimiter(header: str) -> str:
    """Return the one of the delimiters that the names of the columns have most of."""
    outside_quotes = _QUOTED.sub("", header)
    return max(_DELIMITERS, key=outside_quotes.count)
