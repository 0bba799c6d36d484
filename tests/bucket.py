"""An fsspec file system without file locks or renames of ours, as object stores are.

It keeps its objects in a directory, so that several processes see them: `bucket://` + the path.
"""

from __future__ import annotations

import fsspec
from fsspec.implementations.local import LocalFileSystem


class Bucket(LocalFileSystem):
    protocol = "bucket"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("bucket://"))


fsspec.register_implementation("bucket", Bucket, clobber=True)
