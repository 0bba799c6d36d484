"""Renders a report as Markdown: tables, and plots in lines of characters."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sweeps.report.blocks import (
    Answers,
    Block,
    Facts,
    Grid,
    Plot,
    Row,
    Section,
    Source,
    Table,
    Text,
)

_SPECIAL = re.compile(r"([\\`*_\[\]!|~$])")
# What would begin a list, a heading or a heading's underline.
_AT_START = re.compile(r"^(\s*)([-+=#]|\d+(?=[.)]\s))", re.MULTILINE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LINK_TO_PAGE = "The same report with interactive plots: [index.html](index.html)."


def render_markdown(title: str, verdict: str, sections: Sequence[Section]) -> str:
    """Render a report as CommonMark with tables.

    Args:
        title: Heading of the report.
        verdict: Sentence that stands below the heading.
        sections: Sections in the order in which they are read.

    Returns:
        The Markdown; sections without any text are left out.
    """
    parts = [f"# {escape(title)}", f"**{escape(verdict)}**", _LINK_TO_PAGE]
    for section in sections:
        blocks = list(filter(None, map(_block, section.blocks)))
        parts += [f"## {escape(section.title)}", *blocks] if blocks else []
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: str) -> str:
    """Return a user's text in one line of Markdown that shows it as it is, without markup or HTML."""
    plain = (
        _without_control_characters(text)
        .replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
    )
    escaped = _SPECIAL.sub(r"\\\1", plain)
    escaped = _AT_START.sub(_escape_start, escaped)
    # Some renderers turn bare addresses into links.
    for address, entity in (("://", ":&#47;&#47;"), ("@", "&#64;"), ("www.", "www&#46;")):
        escaped = escaped.replace(address, entity)
    return "<br>".join(escaped.splitlines())


def _without_control_characters(text: str) -> str:
    """Replace characters by which a text could control the terminal that shows the file."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def _escape_start(start: re.Match[str]) -> str:
    """Escape what would begin a list or heading; digits, which a backslash does not escape, as HTML."""
    space, mark = start.groups()
    return f"{space}&#{ord(mark[0])};{mark[1:]}" if mark[0].isdigit() else f"{space}\\{mark}"


def _block(block: Block) -> str:
    match block:
        case Text():
            return f"> {escape(block.text)}" if block.tone == "warning" else escape(block.text)
        case Facts():
            return "\n".join(f"- {escape(name)}: {escape(value)}" for name, value in block.items)
        case Table():
            return _table(block)
        case Plot():
            return _plot(block)
        case Grid():
            return "\n\n".join(filter(None, map(_plot, block.plots)))
        case Answers():
            rows = [f"- *{escape(author)}*: {escape(text)}" for author, text in block.answers]
            return "\n".join([f"**{escape(block.prompt)}**", "", *rows])
        case Source():
            return f"{escape(block.title)}:\n\n{_fenced(block.text)}"


def _table(block: Table) -> str:
    head = _line([column.name for column in block.columns])
    rule = "|" + "|".join("---:" if column.numeric else "---" for column in block.columns) + "|"
    return "\n".join([f"*{escape(block.caption)}*", "", head, rule, *map(_row, block.rows)])


def _row(row: Row) -> str:
    cells = [escape(cell or "–") for cell in row.cells]
    if row.marked:
        cells[0] = f"**{cells[0]}**"
    return f"| {' | '.join(cells)} |"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(escape, cells))} |"


def _plot(block: Plot) -> str:
    """Return the plot in characters; nothing where a plot has none, because a table says the same."""
    return f"*{escape(block.caption)}*\n\n{_fenced(chr(10).join(block.text))}" if block.text else ""


def _fenced(text: str) -> str:
    """Return a code block with a fence longer than any run of backticks in its text."""
    ticks = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, ticks + 1)
    return f"{fence}text\n{_without_control_characters(text).rstrip()}\n{fence}"
