"""The reader of Apache Parquet, which limits what a file unpacks to before it unpacks it.

A file of a few KiB can unpack to gigabytes: its pages are compressed, and a column may store a long
value once and name it in every row. The metadata tells the size of pages; only the dictionaries tell the
length of the values that rows name.

Tested in tests/unit/dpo_core/preferences/files/test_readers.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dpo_core.errors import DataError
from dpo_core.preferences.files.cell_sizes import check_count, check_size, leaves_of, longest_text
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.files.unpack import most_unpacked_bytes, unpacks_too_far

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ColumnChunkMetaData, ParquetFile

_SHARED_STARTS = "DELTA_BYTE_ARRAY"
"""An encoding of values by what they add to the beginning of the value before."""
_BATCH_ROWS, _FEW_ROWS = 1024, 16


def read_parquet(path: Path) -> Iterator[Record]:
    """Yield the rows of an Apache Parquet file, from number 1; one batch is in memory at a time."""
    from pyarrow import ArrowException

    try:
        rows = (row for batch in _batches(path) for row in batch.to_pylist())
        for number, row in enumerate(rows, 1):
            yield Record(row, number, f"{path}, row {number}")
    except (ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: cannot be read as Parquet ({reason}); write it again") from error


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the file in batches of rows; raise DataError instead of one that is too large."""
    from pyarrow import parquet

    file = parquet.ParquetFile(path)
    most = _check_metadata(file, path)
    # In this view of the file a value stays one in memory, however many rows name it.
    by_name = parquet.ParquetFile(path, read_dictionary=_text_columns(file))
    unpacked = 0
    for group in range(file.metadata.num_row_groups):
        is_small = _most_bytes(by_name, group, path) <= most - unpacked
        view, rows = (file, _BATCH_ROWS) if is_small else (by_name, _FEW_ROWS)
        for batch in view.iter_batches(rows, row_groups=[group]):
            unpacked += sum(check_size(leaf, path) for leaf in leaves_of(batch))
            if unpacked > most:
                raise unpacks_too_far(path, unpacked)
            yield batch


def _check_metadata(file: ParquetFile, path: Path) -> int:
    """Check the sizes that the file's own metadata states.

    Returns:
        The most bytes that the file may unpack to.

    Raises:
        DataError: They are far beyond the packed size.
    """
    groups = range(file.metadata.num_row_groups)
    chunks = [chunk for group in groups for chunk in _chunks(file, group)]
    packed = sum(chunk.total_compressed_size for chunk in chunks)
    unpacked = sum(chunk.total_uncompressed_size for chunk in chunks)
    values = sum(chunk.num_values for chunk in chunks)
    most = most_unpacked_bytes(packed)
    if unpacked > most:
        raise unpacks_too_far(path, unpacked)
    check_count(values, packed, path)
    return most


def _chunks(file: ParquetFile, group: int) -> list[ColumnChunkMetaData]:
    row_group = file.metadata.row_group(group)
    return [row_group.column(i) for i in range(row_group.num_columns)]


def _text_columns(file: ParquetFile) -> list[str]:
    """Return the columns of texts that pyarrow can read by name; those with shared starts it cannot."""
    columns = [file.schema.column(i) for i in range(len(file.schema))]
    groups = range(file.metadata.num_row_groups)
    chunks = [chunk for group in groups for chunk in _chunks(file, group)]
    others = {chunk.path_in_schema for chunk in chunks if _SHARED_STARTS in chunk.encodings}
    texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
    return [path for path in texts if path not in others]


def _most_bytes(by_name: ParquetFile, group: int, path: Path) -> int:
    """Return how many bytes a row group unpacks to at most. Raises DataError for too long a value."""
    chunks = _chunks(by_name, group)
    # The first row comes with the whole dictionary of each column.
    rows = next(by_name.iter_batches(1, row_groups=[group]), None)
    leaves = [] if rows is None else list(leaves_of(rows))
    if len(leaves) != len(chunks):
        return sum(chunk.num_values * chunk.total_uncompressed_size for chunk in chunks)
    return sum(
        chunk.total_uncompressed_size + chunk.num_values * _longest(chunk, leaf, path)
        for chunk, leaf in zip(chunks, leaves, strict=True)
    )


def _longest(chunk: ColumnChunkMetaData, leaf: pa.Array, path: Path) -> int:
    """Return the most bytes by which one value can add to the size of the pages."""
    if _SHARED_STARTS in chunk.encodings:
        return int(chunk.total_uncompressed_size)
    return longest_text(leaf.dictionary, path) if hasattr(leaf, "dictionary") else 0
