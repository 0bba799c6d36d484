"""JSON content read from a file: what it holds, or what is wrong with it in words for people."""

from __future__ import annotations

import json
import re
from typing import Any


class DamagedJson(ValueError):
    """A JSON file that cannot be used; its text completes the sentence "The file …"."""


def decode_json(content: bytes) -> Any:
    """Return what `content` holds. Raises DamagedJson: empty, cut off, or not JSON."""
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
