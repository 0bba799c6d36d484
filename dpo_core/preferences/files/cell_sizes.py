"""Sizes of the cells of columnar files as rows of Python take them, known before they are made.

A column may store a long value once and name it in every row, or count rows that store nothing.

Tested in tests/unit/dpo_core/preferences/files/test_readers.py and test_saved.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dpo_core.errors import DataError
from dpo_core.preferences.files.strict_json import MAX_LINE_BYTES
from dpo_core.preferences.files.unpack import MAX_UNPACKED_RATIO

if TYPE_CHECKING:
    import pyarrow as pa

_MAX_VALUES = 2**22
"""The most values, nulls among them, of a file that is so small that its size allows no more."""


def check_count(values: int, packed_bytes: int, path: Path) -> None:
    """Refuse a file that counts far more values than its bytes can hold.

    Args:
        values: The values of all columns so far, nulls among them.
        packed_bytes: The size of the file.
        path: The file, which the error names.

    Raises:
        DataError: There are too many.
    """
    if values > max(_MAX_VALUES, MAX_UNPACKED_RATIO * packed_bytes):
        raise DataError(
            f"{path}: holds {values} values in {packed_bytes} bytes, as no text does; write it again "
            "from its source"
        )


def check_size(leaf: pa.Array, path: Path) -> int:
    """Return the bytes of a column's values as rows of Python hold them.

    Raises:
        DataError: A value is too long.
    """
    import pyarrow.compute as pc

    texts = leaf.dictionary if hasattr(leaf, "dictionary") else leaf
    if longest_text(texts, path) == 0 or texts is leaf:
        return int(leaf.nbytes)
    return pc.sum(pc.binary_length(leaf.dictionary).take(leaf.indices)).as_py() or 0


def longest_text(leaf: pa.Array, path: Path) -> int:
    """Return the bytes of the longest text of a column. Raises DataError if it is too long."""
    import pyarrow.compute as pc
    from pyarrow import types

    texts = types.is_string, types.is_large_string, types.is_binary, types.is_large_binary
    if not any(is_text(leaf.type) for is_text in texts):
        return 0
    longest: int = pc.max(pc.binary_length(leaf)).as_py() or 0
    if longest > MAX_LINE_BYTES:
        raise DataError(
            f"{path}: a value has {longest // 2**20} MiB, more than {MAX_LINE_BYTES // 2**20}; a row "
            "holds one pair, so break it into rows"
        )
    return longest


def leaves_of(values: pa.RecordBatch | pa.Array) -> Iterator[pa.Array]:
    """Yield the columns of values themselves, in the order of the file."""
    from pyarrow import types

    if not hasattr(values, "type"):
        for column in values.columns:
            yield from leaves_of(column)
    elif types.is_struct(values.type):
        for field in values.flatten():
            yield from leaves_of(field)
    elif types.is_nested(values.type):
        yield from leaves_of(values.flatten())
    else:
        yield values
