"""Rows in an Arrow file that readers map into memory: any number of them, and no copy for anybody.

A file is written in batches and read where it lies; what a reader does not look at costs nothing,
and what two processes look at is in memory once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

T = TypeVar("T")
BATCH_ROWS = 4096


def write_rows(path: Path, schema: pa.Schema, rows: Iterable[Sequence[Any]]) -> None:
    """One Arrow IPC file of `rows`, each with its values in the order of the schema."""
    write_batches(path, schema, (record_batch(schema, b) for b in chunks(rows, BATCH_ROWS)))


def write_batches(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def record_batch(schema: pa.Schema, rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True) if rows else [[] for _ in schema]
    arrays = [pa.array(c, field.type) for c, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def map_rows(path: Path) -> pa.Table:
    """The rows of a file, without reading them. Raises pyarrow.ArrowInvalid when it is no such file."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
