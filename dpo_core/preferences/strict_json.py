"""JSON and text without Python's leniency: no NaN, no duplicate keys, UTF-8 without a mark."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any, NoReturn

from dpo_core.errors import DataError


def read_text(path: Path) -> str:
    """The text of a file. Raises DataError if it is unreadable, not UTF-8, marked or empty."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check permissions") from None
    if raw.startswith(codecs.BOM_UTF8):
        raise DataError(f"{path}:1: begins with a byte order mark; save it as UTF-8 without BOM")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from None
    if not text.strip():
        raise DataError(f"{path}: the file is empty; it must hold at least one preference pair")
    return text


def parse_json(text: str, path: Path, line: int | None = None) -> Any:
    """Parse `text`, which begins at `line` of the file, or is all of it. Raises DataError."""
    place = f"{path}:{line}" if line else str(path)
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{(line or 1) + error.lineno - 1}: invalid JSON at column {error.colno} "
            f"({error.msg}); correct the line"
        ) from None
    except ValueError as error:  # from the two functions below, or a number of too many digits
        raise DataError(f"{place}: {error}") from None
    except RecursionError:
        raise DataError(f"{place}: JSON is nested too deeply; a row is flat") from None


def _unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(items)
    if len(result) < len(items):
        names = [name for name, _ in items]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} occurs twice in one object; keep one of them")
    return result


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; write a number, a string or null")
