"""What a report is made of: sections of blocks. The page and the Markdown are two renderings of them.

All texts are plain: whoever renders them escapes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

Cell = str | None


@dataclass(frozen=True)
class Text:
    """A paragraph. `tone`: plain, note (small print) or warning."""

    kind: ClassVar[str] = "text"
    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class Column:
    name: str
    numeric: bool = False
    wide: bool = False
    """Holds prose, which may be wrapped."""


@dataclass(frozen=True)
class Row:
    cells: tuple[Cell, ...]
    trial: str | None = None
    """Makes the row select the trial in every plot."""
    marked: bool = False


@dataclass(frozen=True)
class Table:
    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Facts:
    """A few labelled values."""

    kind: ClassVar[str] = "facts"
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Plot:
    """`figure` is a plotly figure; `text` tells the same in lines of characters, for Markdown."""

    kind: ClassVar[str] = "plot"
    name: str
    caption: str
    figure: Any
    text: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grid:
    """Plots side by side where there is room."""

    kind: ClassVar[str] = "grid"
    plots: tuple[Plot, ...]


@dataclass(frozen=True)
class Answers:
    """One held-out prompt and what was answered by whom."""

    kind: ClassVar[str] = "answers"
    prompt: str
    answers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Source:
    """A file's text, folded away."""

    kind: ClassVar[str] = "source"
    title: str
    text: str


Block = Text | Table | Facts | Plot | Grid | Answers | Source


@dataclass(frozen=True)
class Section:
    """`name` is its anchor."""

    name: str
    title: str
    blocks: tuple[Block, ...]


def table(caption: str, columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    """Raises ValueError when a row has another number of cells than there are columns."""
    for row in rows:
        if len(row.cells) != len(columns):
            raise ValueError(f"{caption}: {len(row.cells)} cells for {len(columns)} columns")
    return Table(caption, tuple(columns), tuple(rows))


def number(name: str) -> Column:
    return Column(name, numeric=True)
