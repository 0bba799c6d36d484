"""JSON files that prove themselves whole, and what is wrong with one, in words for people.

Each object has the SHA-256 of what it holds beside its other keys, so that a changed bit is noticed
by whoever reads it. Files of earlier versions have none.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any


class DamagedJson(ValueError):
    """A JSON file that cannot be used; its text completes the sentence "The file …"."""


def encode_json(content: Any, *, indent: int | None = 2, allow_nan: bool = True) -> bytes:
    """Encode an object, or a list of objects, each with the digest of what it holds.

    Args:
        content: The object or the list.
        indent: Spaces of a level; None writes everything in one line.
        allow_nan: Write NaN and infinity, which only Python reads.

    Returns:
        The content of a file for `decode_json`.
    """
    rows = [_with_digest(row) for row in (content if isinstance(content, list) else [content])]
    whole = rows if isinstance(content, list) else rows[0]
    text = json.dumps(whole, ensure_ascii=False, indent=indent, allow_nan=allow_nan)
    return text.encode("utf-8", "surrogatepass")  # as `json.loads` decodes it


def decode_json(content: bytes) -> Any:
    """Return what `content` holds, without digests, which are checked.

    Raises DamagedJson: empty, cut off, not JSON, or with another digest than it was written with.
    """
    whole = _parse(content)
    for row in whole if isinstance(whole, list) else [whole]:
        if isinstance(row, dict):
            _check_digest(row)
    return whole


_DIGEST, _PREFIX = "content_sha256", "sha256:"


def _with_digest(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, _DIGEST: _digest(json.loads(json.dumps(row)))}


def _digest(row: Mapping[str, Any]) -> str:
    text = json.dumps(row, sort_keys=True, separators=(",", ":"))
    return f"{_PREFIX}{hashlib.sha256(text.encode()).hexdigest()}"


def _check_digest(row: dict[str, Any]) -> None:
    """Check and remove the digest of an object, if it has one."""
    has_digest = _DIGEST in row
    digest = row.pop(_DIGEST, None)
    # One changed bit can turn the key into another: what such a digest stands for is not whole.
    is_renamed = any(isinstance(v, str) and v.startswith(_PREFIX) for v in row.values())
    if (has_digest and digest != _digest(row)) or (is_renamed and not has_digest):
        raise DamagedJson(f"is not what was written ({_DIGEST} does not match)")


def _parse(content: bytes) -> Any:
    if not content.strip():
        raise DamagedJson("is empty")
    try:
        return json.loads(content)
    except UnicodeDecodeError as error:
        is_cut_off = error.end == len(content) and error.reason == "unexpected end of data"
    except json.JSONDecodeError as error:
        is_cut_off = _ends_too_early(error)
    except RecursionError:  # thousands of brackets, which no writer of ours makes
        is_cut_off = False
    raise DamagedJson("is cut off" if is_cut_off else "is not JSON")


# What may be left of a literal, a number or an escape whose end is missing, where the decoder stopped.
_BEGINNING = re.compile(r"t|tr|tru|f|fa|fal|fals|n|nu|nul|-|\.|[eE][+-]?|(u[0-9a-fA-F]{0,4})?")


def _ends_too_early(error: json.JSONDecodeError) -> bool:
    """Tell whether more text could have made it JSON, by what the decoder reports."""
    # A string that never ends is reported at its beginning.
    return error.msg.startswith("Unterminated string") or bool(
        _BEGINNING.fullmatch(error.doc[error.pos :].strip())
    )
