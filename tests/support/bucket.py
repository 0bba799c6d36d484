"""An fsspec file system without file locks or renames of ours, as object stores are.

It keeps its objects in a directory, so that several processes see them: `bucket://` + the path.
"""

from __future__ import annotations

from typing import Any, ClassVar

import fsspec
from fsspec.implementations.local import LocalFileSystem


class Bucket(LocalFileSystem):
    protocol = "bucket"
    away: ClassVar[OSError | None] = None
    """What every call of this process raises while it is set."""
    lose_answers: ClassVar[int] = 0
    """So many files are written, and then the connection breaks."""

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("bucket://"))

    def info(self, path: str, **options: Any) -> Any:
        self._reach()
        return super().info(path, **options)

    def ls(self, path: str, **options: Any) -> Any:
        self._reach()
        return super().ls(path, **options)

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        self._reach()
        file = super().open(path, mode, **options)
        if "w" in mode and Bucket.lose_answers:
            Bucket.lose_answers -= 1
            return _Unanswered(file)
        return file

    def rm(self, path: str, **options: Any) -> Any:
        self._reach()
        return super().rm(path, **options)

    def rm_file(self, path: str) -> Any:
        self._reach()
        return super().rm_file(path)

    def makedirs(self, path: str, exist_ok: bool = False) -> Any:
        self._reach()
        return super().makedirs(path, exist_ok=exist_ok)

    def _reach(self) -> None:
        if Bucket.away is not None:
            raise Bucket.away


class _Unanswered:
    """Writes all of it, and fails when it is closed."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def close(self) -> None:
        self.file.close()
        raise ConnectionResetError("the answer was lost")


fsspec.register_implementation("bucket", Bucket, clobber=True)
