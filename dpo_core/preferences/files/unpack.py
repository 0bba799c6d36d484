"""Opens data files, also compressed ones, whose unpacked size is limited while it is read.

Tested in tests/unit/dpo_core/preferences/files/test_readers.py.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, TYPE_CHECKING

from dpo_core.errors import DataError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from pyarrow import NativeFile

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
# Text compresses to about a tenth. Small files may compress better, but are small unpacked, too.
MAX_UNPACKED_RATIO, MAX_UNPACKED_BYTES = 100, 64 * 2**20
_BUFFER_BYTES = 2**18


def most_unpacked_bytes(packed_bytes: int) -> int:
    """Return the most bytes that a file of so many packed bytes may unpack to."""
    return max(MAX_UNPACKED_BYTES, MAX_UNPACKED_RATIO * packed_bytes)


def unpacks_too_far(path: Path, unpacked_bytes: int) -> DataError:
    """Return the error for a file that unpacks to more than a file of text does."""
    return DataError(
        f"{path}: unpacks to {unpacked_bytes // 2**20} MiB or more, over {MAX_UNPACKED_RATIO} times "
        "its size, as no text does; write it again from its source"
    )


def open_data(path: Path) -> IO[bytes]:
    """Open a file to read, unpacked if its name ends in .gz or .zst.

    Raises:
        OSError: It cannot be opened.
        DataError: Later, while it is read: it is damaged or unpacks to far too much.
    """
    compression = COMPRESSIONS.get(path.suffix.lower())
    if compression is None:
        return path.open("rb", buffering=_BUFFER_BYTES)
    return io.BufferedReader(_Unpacked(path, compression), _BUFFER_BYTES)


class _Unpacked(io.RawIOBase):
    """The content of a compressed file, which no more of it is unpacked than is read."""

    def __init__(self, path: Path, compression: str) -> None:
        import pyarrow as pa

        self.path = path
        self.most = most_unpacked_bytes(path.stat().st_size)
        self.count = 0
        self.stream: NativeFile = pa.input_stream(str(path), compression=compression)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer).cast("B")
        try:
            content = self.stream.read(len(target))
        except (OSError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise DataError(
                f"{self.path}: cannot be unpacked ({reason}); compress it again"
            ) from None
        self.count += len(content)
        if self.count > self.most:
            raise unpacks_too_far(self.path, self.count)
        target[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self.stream.close()
        super().close()
