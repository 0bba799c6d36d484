"""Words of messages for a value, a wrong type and a count: the same everywhere. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Literal

Expected = Literal["text", "a number", "a whole number", "true or false", "a list", "a mapping"]
"""What a key wants, in the words of the one who writes YAML."""
_LONGEST = 60


def counted(count: float, noun: str) -> str:
    """Format a count of things, whose plural ends in s."""
    number = f"{count:g}" if isinstance(count, float) else f"{count:,}"
    return f"{number} {noun}" if count == 1 else f"{number} {noun}s"


def shown(value: object) -> str:
    """Return a value as its author wrote it in YAML, nearly; long ones are cut."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, int):
        return str(value) if abs(value) < 10**_LONGEST else "the number"
    if isinstance(value, str):
        return repr(value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…")
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def describe_unknown_name(value: object, names: Sequence[str], otherwise: str = "") -> str:
    """Say that a value is none of some names, and which one was meant.

    Args:
        value: What was written.
        names: All that can be written.
        otherwise: What is possible beside the names, such as `, or null`.

    Returns:
        A sentence such as `'cosin' is unknown; did you mean cosine? (linear, cosine)`.
    """
    near = difflib.get_close_matches(str(value), names, n=1)
    if near:
        return f"{shown(value)} is unknown; did you mean {near[0]}? ({', '.join(names)})"
    some = "one of " if len(names) > 1 else ""
    return f"{shown(value)} is unknown; use {some}{', '.join(names)}{otherwise}"


def describe_wrong_type(value: object, expected: Expected, example: str | None = None) -> str:
    """Say what a value is and how to write what belongs there.

    Args:
        value: What was written, of another type than the expected one.
        expected: What belongs there.
        example: A text that would be right, where any text would not.

    Returns:
        A sentence such as `'0.1' is text; write the number without quotes`.
    """
    return f"{shown(value)} {_kind(value, expected)}; {_way_out(value, expected, example)}"


def _kind(value: object, expected: Expected) -> str:
    if value is None:
        return "is no value here"
    if isinstance(value, bool):
        return "is a boolean"
    if isinstance(value, int | float):
        if expected == "a whole number":
            return "is a number with a fraction"
        if expected == "a number":  # which Python refuses only where it is too long for a float
            return f"has {len(str(value).lstrip('-'))} digits"
        return "is a number"
    if isinstance(value, str):
        return "is text"
    return "is a mapping" if isinstance(value, Mapping) else "is a list"


def _way_out(value: object, expected: Expected, example: str | None) -> str:
    is_scalar = isinstance(value, str | int | float)
    if expected == "text" and example:
        return f'write text in quotes, such as "{example}"'
    if expected == "text" and is_scalar:
        return f'write text in quotes: "{shown(value)}"'
    if isinstance(value, str) and _reads_as(value, expected):
        return "write the number without quotes"
    if expected == "a number" and isinstance(value, int) and not isinstance(value, bool):
        return "write a smaller one"
    if expected == "a list" and is_scalar:
        return f"write a list: [{value if isinstance(value, str) else shown(value)}]"
    if expected == "true or false" and isinstance(value, str):
        return "write true or false, without quotes"
    return f"write {expected}"


def _reads_as(text: str, expected: Expected) -> bool:
    """Return whether a text in quotes is the number that was expected."""
    if expected not in ("a number", "a whole number"):
        return False
    try:
        int(text) if expected == "a whole number" else float(text)
    except ValueError:
        return False
    return True
