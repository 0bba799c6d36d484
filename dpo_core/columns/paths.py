"""Paths to values in a row: `question`, `input.messages`, `messages[-1]`, `completions[].response`.

| step    | leads to                                        |
|---------|-------------------------------------------------|
| `a.b`   | the value of key `b` in the value of column `a` |
| `a[0]`  | the item at a position; negative ones count from the end |
| `a[:-1]` | the items of a range, as a list                |
| `a[].b` | the list of the values of `b` in each item; `a.b` is the same where `a` is a list |

Tested in tests/unit/dpo_core/columns/test_paths.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum


class _Each(Enum):
    ITEM = "[]"


@dataclass(frozen=True)
class _Range:
    start: int | None
    stop: int | None


Step = str | int | _Range | _Each
_STEP = re.compile(
    r"\[(?P<range>-?\d*:-?\d*)\]|\[(?P<position>-?\d+)\]|(?P<each>\[\])|\.?(?P<key>[^.\[\]]+)"
)


@dataclass(frozen=True)
class ColumnPath:
    """A path to a value of a row, as the user wrote it and as steps."""

    text: str
    steps: tuple[Step, ...]

    @classmethod
    def parse(cls, text: str) -> ColumnPath:
        """Read a path. Raises ValueError for a text that is none."""
        steps: list[Step] = []
        position = 0
        while position < len(text):
            match = _STEP.match(text, position)
            if match is None or (not steps and match["key"] is None) or text.startswith("."):
                break
            steps.append(_step(match))
            position = match.end()
        if position < len(text) or not steps:
            raise ValueError(
                f"{text!r} is no path to a column; write it like question, input.messages, "
                "messages[-1] or completions[].response"
            )
        return cls(text, tuple(steps))

    @property
    def column(self) -> str:
        """Return the name of the column in which the path begins."""
        return str(self.steps[0])

    def value_in(self, row: Mapping[str, object]) -> object:
        """Return the value in a row, or None where there is none.

        A column whose name is the whole text of the path comes first. Texts of JSON on the way are
        parsed.
        """
        if len(self.steps) == 1 or self.text in row:
            return row.get(self.text)
        return _follow(row.get(self.column), self.steps[1:])

    def column_in(self, row: Mapping[str, object]) -> str:
        """Return the name of the column that the path begins in, for a row of these columns."""
        return self.text if self.text in row else self.column


def _step(match: re.Match[str]) -> Step:
    if match["key"] is not None:
        return match["key"]
    if match["each"] is not None:
        return _Each.ITEM
    if match["position"] is not None:
        return int(match["position"])
    start, _, stop = match["range"].partition(":")
    return _Range(int(start) if start else None, int(stop) if stop else None)


def _follow(value: object, steps: tuple[Step, ...]) -> object:
    """Return what the steps lead to, or None where a step leads nowhere."""
    for number, step in enumerate(steps):
        value = parsed(value)
        if isinstance(step, str) and isinstance(value, list):
            return [_follow(item, steps[number:]) for item in value]
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, Mapping) else None
        elif not isinstance(value, Sequence) or isinstance(value, str):
            return None
        elif isinstance(step, _Each):
            return [_follow(item, steps[number + 1 :]) for item in value]
        elif isinstance(step, _Range):
            value = list(value[step.start : step.stop])
        else:
            value = value[step] if -len(value) <= step < len(value) else None
    return value


def parsed(value: object) -> object:
    """Return the list or object in a text of JSON, and any other value as it is."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value
