"""Arrow files: rows come back in order, over any number of batches, mapped and not copied."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from dpo_core.storage.arrow_files import (
    BATCH_ROWS,
    chunks,
    map_rows,
    record_batch,
    write_batches,
    write_rows,
)

SCHEMA = pa.schema({"name": pa.string(), "numbers": pa.list_(pa.int32())})


@pytest.mark.parametrize("count", [0, 1, BATCH_ROWS, 2 * BATCH_ROWS + 3])
def test_rows_written_are_the_rows_mapped(tmp_path: Path, count: int) -> None:
    path = tmp_path / "rows.arrow"
    write_rows(path, SCHEMA, ((f"row {n}", [n, n + 1]) for n in range(count)))
    table = map_rows(path)
    assert table.schema == SCHEMA
    assert table.to_pylist() == [{"name": f"row {n}", "numbers": [n, n + 1]} for n in range(count)]
    assert len(table.to_batches()) == -(-count // BATCH_ROWS)


def test_a_mapped_file_takes_no_memory_of_arrow(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    write_rows(path, SCHEMA, (("x" * 100, [n]) for n in range(10_000)))
    before = pa.total_allocated_bytes()
    table = map_rows(path)
    assert table.num_rows == 10_000
    assert pa.total_allocated_bytes() - before < 100_000


def test_batches_are_written_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    batches = [record_batch(SCHEMA, [("a", [1])]), record_batch(SCHEMA, [("b", []), ("c", [2])])]
    write_batches(path, SCHEMA, iter(batches))
    assert [batch.num_rows for batch in map_rows(path).to_batches()] == [1, 2]


def test_a_row_has_a_value_for_each_column() -> None:
    assert record_batch(SCHEMA, []).num_rows == 0
    with pytest.raises(ValueError, match="zip"):
        record_batch(SCHEMA, [("only a name",)])


def test_another_file_is_no_arrow_file(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no arrow file, but long enough to be one")
    with pytest.raises(pa.ArrowInvalid):
        map_rows(tmp_path / "text")


def test_chunks_lose_nothing() -> None:
    assert list(chunks(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(chunks([], 3)) == []
