"""A report as Markdown that any renderer shows: tables, and plots in lines of characters."""

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
_WHO_READS = "The same with interactive plots: [index.html](index.html)."


def render_markdown(title: str, verdict: str, sections: Sequence[Section]) -> str:
    parts = [f"# {escape(title)}", f"**{escape(verdict)}**", _WHO_READS]
    for section in sections:
        blocks = list(filter(None, map(_block, section.blocks)))
        parts += [f"## {escape(section.title)}", *blocks] if blocks else []
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: str) -> str:
    """A user's text as itself: neither markup nor HTML, on one line."""
    plain = _visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = _SPECIAL.sub(r"\\\1", plain)
    escaped = _AT_START.sub(_defused, escaped)
    # Bare addresses, which some renderers make links of.
    for address, entity in (("://", ":&#47;&#47;"), ("@", "&#64;"), ("www.", "www&#46;")):
        escaped = escaped.replace(address, entity)
    return "<br>".join(escaped.splitlines())


def _visible(text: str) -> str:
    """Without what a terminal that shows the file would obey."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def _defused(start: re.Match[str]) -> str:
    """A backslash escapes punctuation only, so a list's number is given as an entity."""
    space, found = start.groups()
    return f"{space}&#{ord(found[0])};{found[1:]}" if found[0].isdigit() else f"{space}\\{found}"


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
            rows = [f"**{escape(block.prompt)}**"]
            rows += [f"- *{escape(who)}*: {escape(said)}" for who, said in block.answers]
            return "\n".join([rows[0], "", *rows[1:]])
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
    """Nothing where the characters would say nothing that a table does not."""
    return f"*{escape(block.caption)}*\n\n{_fenced(chr(10).join(block.text))}" if block.text else ""


def _fenced(text: str) -> str:
    """A code block that its own text cannot end."""
    ticks = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, ticks + 1)
    return f"{fence}text\n{_visible(text).rstrip()}\n{fence}"
