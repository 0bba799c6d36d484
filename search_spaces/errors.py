"""SpaceError, and how everything that can be wrong with a space becomes one readable line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

from pydantic import ValidationError


class SpaceError(ValueError):
    """A search space, or a point of it, breaks a rule. Says the value, the rule and the way out."""


@contextmanager
def about(subject: str) -> Iterator[None]:
    """Put `subject: ` before every SpaceError raised inside; escaped, to keep it one line."""
    shown = subject if subject.isprintable() else repr(subject)
    try:
        yield
    except SpaceError as error:
        raise SpaceError(f"{shown}: {error}") from None


def one_line(error: ValidationError) -> str:
    """The first complaint of pydantic, without its types, links and line breaks."""
    first = error.errors(include_url=False)[0]
    own = first.get("ctx", {}).get("error")
    if own is not None:
        return str(own)
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}={first['input']!r} is refused: {first['msg']}"


def way_out(given: object, known: Iterable[str]) -> str:
    """`did you mean "x"?`, or all that could have been meant."""
    names = list(known)
    close = get_close_matches(str(given), names, n=1)
    return f'did you mean "{close[0]}"?' if close else f"use one of {', '.join(names)}"
