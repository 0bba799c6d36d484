"""JSON and text without Python's leniency: no NaN, no duplicate keys, UTF-8 without a mark."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from dpo_core.errors import DataError

MAX_LINE_BYTES = 16 * 2**20
MAX_WHOLE_BYTES = 256 * 2**20
"""Of a file that is parsed as one value, which takes several times its size."""


def read_text(path: Path) -> str:
    """The text of a file. Raises DataError if it is unreadable, too large to be read as one value,
    not UTF-8, marked or empty."""
    try:
        if path.stat().st_size > MAX_WHOLE_BYTES:
            raise DataError(
                f"{path}: larger than {MAX_WHOLE_BYTES // 2**20} MiB, and has to be read as a whole; "
                "write it as .jsonl, which is read line by line"
            )
        raw = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None
    _refuse_mark(raw, path)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _no_utf8(raw, error, path, line) from None
    if not text.strip():
        raise empty_file(path)
    return text


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number, from 1, and bytes of each line, one at a time, so that a file may be large.

    Raises DataError if the file is unreadable or marked, or a line is longer than MAX_LINE_BYTES.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if number == 1:
                    _refuse_mark(line, path)
                if len(line) > MAX_LINE_BYTES:
                    raise DataError(
                        f"{path}:{number}: longer than {MAX_LINE_BYTES // 2**20} MiB; a line holds "
                        "one row, so break the file into lines"
                    )
                yield number, line
    except OSError as error:
        raise _unreadable(path, error) from None


def decode_line(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise _no_utf8(line, error, path, number) from None


def empty_file(path: Path) -> DataError:
    return DataError(f"{path}: the file is empty; it must hold at least one preference pair")


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be read ({error.strerror}); check permissions")


def _refuse_mark(raw: bytes, path: Path) -> None:
    if raw.startswith(codecs.BOM_UTF8):
        raise DataError(f"{path}:1: begins with a byte order mark; save it as UTF-8 without BOM")


def _no_utf8(raw: bytes, error: UnicodeDecodeError, path: Path, line: int) -> DataError:
    return DataError(
        f"{path}:{line}: byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8"
    )


def parse_json(text: str, path: Path, line: int | None = None) -> Any:
    """Parse `text`, which begins at `line` of the file, or is all of it. Raises DataError."""
    place = f"{path}:{line}" if line else str(path)
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{(line or 1) + error.lineno - 1}: invalid JSON at column {error.colno} "
            f"({error.msg}); correct the line"
        ) from None
    except ValueError as error:  # from the two functions below, or a number of too many digits
        raise DataError(f"{place}: {error}") from None
    except RecursionError:
        raise DataError(
            f"{place}: JSON is nested too deeply; a row has strings or lists of messages"
        ) from None


def _unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(items)
    if len(result) < len(items):
        names = [name for name, _ in items]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} occurs twice in one object; keep one of them")
    return result


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; write a number, a string or null")


# One for all: making it takes longer than using it.
_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_number)
