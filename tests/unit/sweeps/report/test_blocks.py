"""Tests of the blocks of which a report is made."""

from __future__ import annotations

import pytest

from sweeps.report.blocks import Column, Row, number, table


def test_a_table_has_a_cell_for_each_column() -> None:
    columns = [Column("name"), number("value")]
    rows = [Row(("a", "1")), Row(("b", None))]
    built = table("caption", columns, rows)
    assert (built.columns, built.rows) == (tuple(columns), tuple(rows))
    with pytest.raises(ValueError, match="caption: 1 cells for 2 columns"):
        table("caption", columns, [Row(("a",))])


def test_a_column_of_numbers_is_numeric() -> None:
    assert (number("n").numeric, Column("n").numeric) == (True, False)
