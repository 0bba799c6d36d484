"""A reader of what pyarrow does not tell of a message of Arrow's stream format: its compression.

The metadata is a FlatBuffers table (Message.fbs of Apache Arrow): a table begins with the distance back
to its list of offsets, in which field k stands at byte 4 + 2k; 0 says that the field is absent.

Tested in tests/unit/dpo_core/preferences/files/test_saved.py.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_HEADER, _COMPRESSION, _DATA = 2, 3, 1
"""Fields of Message, of its RecordBatch, and of its DictionaryBatch, which holds a RecordBatch."""


def is_compressed(message: pa.Message) -> bool:
    """Return whether the buffers of a batch are compressed. Raises ValueError if it is damaged."""
    if message.type not in ("record batch", "dictionary"):
        return False
    metadata = message.metadata.to_pybytes()
    try:
        header = _table_at(metadata, _field(metadata, _table_at(metadata, 0), _HEADER))
        if message.type == "dictionary":
            header = _table_at(metadata, _field(metadata, header, _DATA))
        return _field(metadata, header, _COMPRESSION) != 0
    except (struct.error, IndexError):
        raise ValueError("a message's metadata is cut off") from None


def _table_at(metadata: bytes, position: int) -> int:
    """Return where the table begins to which the offset at `position` leads."""
    return position + int(struct.unpack_from("<I", metadata, position)[0])


def _field(metadata: bytes, table: int, field: int) -> int:
    """Return where a field of a table stands; 0 if the table lacks it."""
    offsets = table - int(struct.unpack_from("<i", metadata, table)[0])
    if offsets < 0:
        raise IndexError
    size = int(struct.unpack_from("<H", metadata, offsets)[0])
    slot = 4 + 2 * field
    if slot >= size:
        return 0
    offset = int(struct.unpack_from("<H", metadata, offsets + slot)[0])
    return table + offset if offset else 0
