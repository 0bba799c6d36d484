"""Text without control characters: foreign text must not move a terminal's cursor or hide lines."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.segment import Segment

# All of C0 but tab and line feed, DEL, C1; and what turns the direction of writing around.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Return `text` without control characters; line ends and tabs stay."""
    return _CONTROL.sub("", text)


def print_line(text: object = "") -> None:
    """Print on stdout, without control characters."""
    print(printable(str(text)))


def printable_json(text: str) -> str:
    """Return JSON with its control characters escaped, so that it holds the same as before."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class PrintableOnly(RenderHook):
    """A hook of a Rich console that keeps control characters out of what it prints."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Wrap each renderable."""
        return [_Printable(each) for each in renderables]


class _Printable:
    def __init__(self, content: ConsoleRenderable) -> None:
        self.content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from _stripped(console.render(self.content, options))


def _stripped(segments: Iterable[Segment]) -> Iterable[Segment]:
    for segment in segments:
        if segment.control:
            yield segment
        else:
            yield Segment(printable(segment.text), segment.style)
