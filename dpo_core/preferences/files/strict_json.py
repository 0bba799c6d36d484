"""Strict readers of JSON and text: no duplicate keys, UTF-8 alone, lines and values of bounded size.

NaN, which Python's json writes for a missing number, is read as null. A byte order mark is left out.
"""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dpo_core.errors import DataError
from dpo_core.preferences.files.unpack import open_data

MAX_LINE_BYTES = 16 * 2**20
MAX_WHOLE_BYTES = 256 * 2**20
"""The largest file that is parsed as one value, which takes several times its size in memory."""


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises DataError if the file cannot be read, is empty or too large to be parsed as one value, or is
    not UTF-8.
    """
    try:
        with open_data(path) as file:
            raw = file.read(MAX_WHOLE_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from None
    if len(raw) > MAX_WHOLE_BYTES:
        raise DataError(
            f"{path}: larger than {MAX_WHOLE_BYTES // 2**20} MiB, and has to be read as a whole; "
            "write it as .jsonl, which is read line by line"
        )
    try:
        text = raw.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _no_utf8(raw.removeprefix(codecs.BOM_UTF8), error, path, line) from None
    if not text.strip():
        raise empty_file(path)
    return text


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Read a file line by line, so that it may be larger than memory.

    Args:
        path: The file to read.

    Yields:
        The number of each line, from 1, and its bytes with the line end.

    Raises:
        DataError: The file cannot be read, or a line is longer than MAX_LINE_BYTES.
    """
    try:
        with open_data(path) as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)
                if len(line) > MAX_LINE_BYTES:
                    raise DataError(
                        f"{path}:{number}: longer than {MAX_LINE_BYTES // 2**20} MiB; a line holds "
                        "one row, so break the file into lines"
                    )
                yield number, line
    except OSError as error:
        raise _unreadable(path, error) from None


def decode_line(line: bytes, path: Path, number: int) -> str:
    """Decode a line as UTF-8.

    Args:
        line: The bytes of the line.
        path: The file it is from, for the error.
        number: Its number in the file, from 1, for the error.

    Returns:
        The text of the line.

    Raises:
        DataError: The line is not UTF-8.
    """
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise _no_utf8(line, error, path, number) from None


def empty_file(path: Path) -> DataError:
    """Return the error for a file without any row."""
    return DataError(f"{path}: the file is empty; it must hold at least one preference pair")


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be read ({error.strerror}); check permissions")


def _no_utf8(raw: bytes, error: UnicodeDecodeError, path: Path, line: int) -> DataError:
    return DataError(
        f"{path}:{line}: byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8"
    )


def parse_json(text: str, path: Path, line: int | None = None) -> Any:
    """Parse JSON without Python's leniency.

    Args:
        text: The JSON text.
        path: The file it is from, for the error.
        line: The line of the file at which the text begins; None if it is the whole file.

    Returns:
        The value, with dicts for objects.

    Raises:
        DataError: The text is not JSON, is nested too deeply or has a duplicate key.
    """
    where = f"{path}:{line}" if line else str(path)
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{(line or 1) + error.lineno - 1}: invalid JSON at column {error.colno} "
            f"({error.msg}); correct the line"
        ) from None
    except ValueError as error:  # from the function below, or a number of too many digits
        raise DataError(f"{where}: {error}") from None
    except RecursionError:
        raise DataError(
            f"{where}: JSON is nested too deeply; a row has strings or lists of messages"
        ) from None


def _unique(items: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(items)
    if len(result) < len(items):
        names = [name for name, _ in items]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} occurs twice in one object; keep one of them")
    return result


_CONSTANTS = {"NaN": None, "Infinity": math.inf, "-Infinity": -math.inf}
# Shared, because creating a decoder takes longer than using it.
_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_CONSTANTS.__getitem__)
