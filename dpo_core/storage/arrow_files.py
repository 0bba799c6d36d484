"""Arrow files that hold rows on disk and that readers map into memory without copying them.

A file is written in batches, so it may be larger than memory. A reader loads only the parts that it
uses, and two processes that use the same part share one copy of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

T = TypeVar("T")
BATCH_ROWS = 4096


def write_rows(path: Path, schema: pa.Schema, rows: Iterable[Sequence[object]]) -> None:
    """Write rows to an Arrow IPC file, batch by batch.

    Args:
        path: The file to write; one that exists is replaced.
        schema: Names and types of the columns.
        rows: Rows of any number, each with its values in the order of the schema.
    """
    write_batches(path, schema, (record_batch(schema, b) for b in chunks(rows, BATCH_ROWS)))


def write_batches(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write record batches to an Arrow IPC file.

    Args:
        path: The file to write; one that exists is replaced.
        schema: The schema that all batches have.
        batches: Batches, written one after the other as they come.
    """
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def record_batch(schema: pa.Schema, rows: Sequence[Sequence[object]]) -> pa.RecordBatch:
    """Build a record batch of rows that have their values in the order of the schema."""
    columns = zip(*rows, strict=True) if rows else [[] for _ in schema]
    arrays = [pa.array(c, field.type) for c, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def map_rows(path: Path) -> pa.Table:
    """Map an Arrow IPC file into memory. Raises pyarrow.ArrowInvalid when the file is no such file."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of `size`; the last list may be shorter."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
