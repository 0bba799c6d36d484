"""Readers of a report's sections for tests: its tables and plots, and the rows of a table."""

from __future__ import annotations

from collections.abc import Iterable

from sweeps.report.blocks import Cell, Plot, Section, Table, Text


def tables(*sections: Section) -> dict[str, Table]:
    """Return the tables of sections by their captions."""
    blocks = (block for section in sections for block in section.blocks)
    return {block.caption: block for block in blocks if isinstance(block, Table)}


def plots(sections: Iterable[Section]) -> dict[str, Plot]:
    """Return the plots of sections, in grids or alone, by their names."""
    blocks = (block for section in sections for block in section.blocks)
    every = (plot for block in blocks for plot in getattr(block, "plots", (block,)))
    return {plot.name: plot for plot in every if isinstance(plot, Plot)}


def texts(section: Section) -> list[str]:
    """Return the paragraphs of a section."""
    return [block.text for block in section.blocks if isinstance(block, Text)]


def cells_by_column(table: Table) -> list[dict[str, Cell]]:
    """Return each row of a table as its cells by the names of their columns."""
    names = [column.name for column in table.columns]
    return [dict(zip(names, row.cells, strict=True)) for row in table.rows]
