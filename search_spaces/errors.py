"""SpaceError, and the functions that make each mistake in a space one readable line.

Tested in tests/unit/search_spaces/test_space.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

from pydantic import ValidationError


class SpaceError(ValueError):
    """A search space, or a point of it, breaks a rule. Says the value, the rule and the way out."""


@contextmanager
def error_prefix(subject: str) -> Iterator[None]:
    """Put `subject: ` before every SpaceError raised inside; escaped, to keep it one line."""
    shown = subject if subject.isprintable() else repr(subject)
    try:
        yield
    except SpaceError as error:
        raise SpaceError(f"{shown}: {error}") from None


def one_line(error: ValidationError) -> str:
    """Return the first complaint of pydantic as one line, without its types and links."""
    first = error.errors(include_url=False)[0]
    validator_error = first.get("ctx", {}).get("error")
    if validator_error is not None:
        return str(validator_error)
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}={first['input']!r} is refused: {first['msg']}"


def suggestion(value: object, options: Iterable[str]) -> str:
    """Return `did you mean "x"?` when `value` is close to an option, else the list of options."""
    names = list(options)
    close = get_close_matches(str(value), names, n=1)
    return f'did you mean "{close[0]}"?' if close else f"use one of {', '.join(names)}"
