"""A folder that may be a directory or a URI (s3://, gs://, file://, any fsspec scheme).

Writes are atomic for a reader: aside and renamed in a directory, a single put elsewhere. A store
that is out of reach is waited for; see `retry`.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.fs as pafs
from filelock import FileLock

from dpo_core.errors import SettingsError
from dpo_core.storage.local_cache import local_copy
from dpo_core.storage.retry import (
    full_disk_as_storage_error,
    retry_while_unreachable,
    wrong_kind_as_storage_error,
)


@dataclass(frozen=True)
class Store:
    """Files below one root; every name is relative, with forward slashes."""

    uri: str
    filesystem: Any
    root: str

    @classmethod
    def open(cls, uri: str | os.PathLike[str]) -> Store:
        """Raises SettingsError when no file system answers to the URI's scheme."""
        text = os.fspath(uri)
        if "://" not in text:
            root = str(Path(text).expanduser().resolve())
            return cls(root, pafs.LocalFileSystem(), root)
        try:
            filesystem, root = pafs.FileSystem.from_uri(text)
        except (ValueError, NotImplementedError):  # what ArrowInvalid and its kin are
            filesystem, root = _fsspec(text)
        return cls(text.rstrip("/"), filesystem, root)

    @property
    def local(self) -> Path | None:
        """The directory, if it is one on this machine's file systems."""
        is_local = isinstance(self.filesystem, pafs.LocalFileSystem)
        return Path(self.root) if is_local else None

    def at(self, name: str) -> Store:
        """The sub-folder `name`."""
        return Store(f"{self.uri}/{name}", self.filesystem, self._path(name))

    @retry_while_unreachable
    def exists(self, name: str) -> bool:
        info = self.filesystem.get_file_info(self._path(name))
        return bool(info.type != pafs.FileType.NotFound)

    @retry_while_unreachable
    def names(self, folder: str = "") -> list[str]:
        """Entries of a folder, sorted, without those being written; empty if it is absent."""
        selector = pafs.FileSelector(self._path(folder), allow_not_found=True)
        found = (PurePosixPath(i.path).name for i in self.filesystem.get_file_info(selector))
        return sorted(name for name in found if not name.startswith(_ASIDE))

    @retry_while_unreachable
    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError."""
        try:
            with self.filesystem.open_input_stream(self._path(name)) as stream:
                content: bytes = stream.read()
                return content
        except OSError:
            self._refuse_folder(name)  # Arrow says it in the words of an error without a number
            raise

    def read_json(self, name: str) -> Any:
        """What a JSON file holds; None where there is none, or only a part of one."""
        try:
            return json.loads(self.read(name))
        except (FileNotFoundError, ValueError):
            return None

    @retry_while_unreachable
    def write(self, name: str, content: bytes) -> None:
        """Whole or not at all; durable on a local disk when it returns."""
        target = PurePosixPath(self._path(name))
        self.filesystem.create_dir(str(target.parent), recursive=True)
        if self.local is None:
            with self.filesystem.open_output_stream(str(target)) as stream:
                stream.write(content)
            return
        aside = Path(target.parent) / f"{_ASIDE}{uuid.uuid4().hex}"
        try:
            with open(aside, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, target)
        except OSError:
            aside.unlink(missing_ok=True)  # a full disk needs the room
            raise

    @retry_while_unreachable
    def append(self, name: str, content: bytes) -> None:
        """Add to the end of a file: all of it, or nothing. One writer at a time; object stores
        rewrite the file."""
        if self.local is None:
            before = self.read(name) if self.exists(name) else b""
            self.write(name, before + content)  # the same content, however often it is tried
            return
        path = Path(self._path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab") as file:
            before_bytes = file.tell()
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), before_bytes)
                raise

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A path of this machine to write a large file to; it becomes `name` when the block ends,
        and is gone when the block fails."""
        target = Path(self._path(name)) if self.local else None
        if target:
            target.parent.mkdir(parents=True, exist_ok=True)
        with (
            full_disk_as_storage_error(self),
            wrong_kind_as_storage_error(self, name),
            tempfile.TemporaryDirectory(dir=target and target.parent, prefix=_ASIDE) as folder,
        ):
            aside = Path(folder) / PurePosixPath(name).name
            yield aside
            if target:
                with open(aside, "rb+") as file:
                    os.fsync(file.fileno())
                os.replace(aside, target)
                return
            self._put(aside, name)

    @retry_while_unreachable
    def local_file(self, name: str) -> Path:
        """A path of this machine that holds `name`, to be mapped: itself, or a copy that all
        processes of the machine share. Raises FileNotFoundError."""
        if self.local is not None:
            path = Path(self._path(name))
            if not path.is_file():
                self._refuse_folder(name)
                raise FileNotFoundError(str(path))
            return path
        info = self.filesystem.get_file_info(self._path(name))
        if info.type != pafs.FileType.File:
            self._refuse_folder(name)
            raise FileNotFoundError(f"{self.uri}/{name}")
        about = f"{self.uri}/{name} {info.size} {info.mtime_ns}"

        def fetch(target: Path) -> None:
            with self.filesystem.open_input_stream(info.path) as stream, target.open("wb") as file:
                shutil.copyfileobj(stream, file, _COPIED_BYTES)

        return local_copy(about, PurePosixPath(name).name, fetch)

    @retry_while_unreachable
    def upload(self, folder: Path, name: str, *, last: str) -> None:
        """A local folder to `name`; the file `last` arrives last and so proves the rest whole."""
        if self.local is not None:
            self._move_in(folder, name)
            return
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        for path in sorted(files, key=lambda p: p.name == last):
            self.write(f"{name}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    @retry_while_unreachable
    def download(self, name: str, folder: Path) -> Path:
        """A local folder with the content of `name`: itself when the store is local."""
        if self.local is not None:
            return Path(self._path(name))
        folder.mkdir(parents=True, exist_ok=True)
        pafs.copy_files(
            self._path(name),
            str(folder),
            source_filesystem=self.filesystem,
            destination_filesystem=pafs.LocalFileSystem(),
        )
        return folder

    @retry_while_unreachable
    def delete(self, name: str) -> None:
        """A file or folder; nothing happens when it is absent."""
        info = self.filesystem.get_file_info(self._path(name))
        if info.type == pafs.FileType.Directory:
            self.filesystem.delete_dir(info.path)
        elif info.type == pafs.FileType.File:
            self.filesystem.delete_file(info.path)

    def lock(self, name: str) -> AbstractContextManager[Any]:
        """One process at a time; the lock dies with its holder. Not on object stores, where the
        worst that happens is that the same content is written twice."""
        if self.local is None:
            return nullcontext()
        path = Path(self._path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(str(path))

    def _path(self, name: str) -> str:
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise ValueError(f"{name!r} leaves the folder {self.uri}")
        return f"{self.root}/{name}".rstrip("/")

    def _refuse_folder(self, name: str) -> None:
        if self.filesystem.get_file_info(self._path(name)).type == pafs.FileType.Directory:
            raise IsADirectoryError(f"{self.uri}/{name}")

    @retry_while_unreachable
    def _put(self, source: Path, name: str) -> None:
        path = self._path(name)
        self.filesystem.create_dir(str(PurePosixPath(path).parent), recursive=True)
        with open(source, "rb") as file, self.filesystem.open_output_stream(path) as stream:
            shutil.copyfileobj(file, stream, _COPIED_BYTES)

    def _move_in(self, folder: Path, name: str) -> None:
        target = Path(self._path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.parent / f"{_ASIDE}{uuid.uuid4().hex}"
        try:
            _copy_tree(folder, aside)
            if target.exists():
                self.delete(name)
            aside.rename(target)
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)  # a full disk needs the room
            raise


_ASIDE = ".writing-"
_COPIED_BYTES = 2**20


def _copy_tree(source: Path, target: Path) -> None:
    try:
        source.rename(target)  # the same disk: no copy at all
    except OSError:
        shutil.copytree(source, target)


def _fsspec(uri: str) -> tuple[Any, str]:
    import fsspec

    try:
        filesystem, root = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise SettingsError(
            f"storage: {uri} cannot be opened ({error}); use a folder or an installed fsspec scheme"
        ) from None
    return pafs.PyFileSystem(pafs.FSSpecHandler(filesystem)), root
