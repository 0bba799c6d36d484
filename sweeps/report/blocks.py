"""Sections and blocks, of which a report is made. The page and the Markdown are renderings of them.

All texts are plain. The code that renders them escapes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import plotly.graph_objects as go

Cell = str | None


@dataclass(frozen=True)
class Text:
    """A paragraph. `tone` is plain, note (small print) or warning."""

    kind: ClassVar[str] = "text"
    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class Column:
    """A column of a table. A numeric one is aligned to the right."""

    name: str
    numeric: bool = False
    wide: bool = False
    """Whether the cells hold prose, which may be wrapped."""


@dataclass(frozen=True)
class Row:
    """A row of a table, with one cell for each column."""

    cells: tuple[Cell, ...]
    trial: str | None = None
    """Trial that a click on the row selects in every plot."""
    marked: bool = False
    """Whether the row is printed bold."""


@dataclass(frozen=True)
class Table:
    """A table with its caption."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Facts:
    """A list of labelled values."""

    kind: ClassVar[str] = "facts"
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Plot:
    """A plot. `text` shows the same in lines of characters, for Markdown; it may be empty."""

    kind: ClassVar[str] = "plot"
    name: str
    caption: str
    figure: go.Figure
    text: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grid:
    """Plots that stand side by side where the page is wide enough."""

    kind: ClassVar[str] = "grid"
    plots: tuple[Plot, ...]


@dataclass(frozen=True)
class Answers:
    """One held-out prompt and its answers, each as (author, text)."""

    kind: ClassVar[str] = "answers"
    prompt: str
    answers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Source:
    """The text of a file, which the reader can unfold."""

    kind: ClassVar[str] = "source"
    title: str
    text: str


NOTHING_EVALUATED = Text("Nothing has been evaluated yet.", "note")

Block = Text | Table | Facts | Plot | Grid | Answers | Source


@dataclass(frozen=True)
class Section:
    """A section of the report. `name` is its anchor."""

    name: str
    title: str
    blocks: tuple[Block, ...]


def table(caption: str, columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    """Build a table whose rows all have as many cells as there are columns.

    Args:
        caption: Title of the table.
        columns: Its columns, from left to right.
        rows: Its rows, from top to bottom.

    Returns:
        The table.

    Raises:
        ValueError: A row has another number of cells than there are columns.
    """
    for row in rows:
        if len(row.cells) != len(columns):
            raise ValueError(f"{caption}: {len(row.cells)} cells for {len(columns)} columns")
    return Table(caption, tuple(columns), tuple(rows))


def number(name: str) -> Column:
    """Return a column of numbers."""
    return Column(name, numeric=True)
