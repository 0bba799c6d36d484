"""A folder of files on a disk or in an object store (s3://, gs://, file://, any fsspec scheme).

A reader never sees part of a file: a directory gets the file under another name first and then
renames it, an object store gets it in one put. Operations on a store that is out of reach are
retried; see `dpo_core.storage.retry`. No name leads out of the root, by a link either; see
`dpo_core.storage.names`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pyarrow.fs as pafs
from filelock import FileLock

from dpo_core.errors import SettingsError, StorageError
from dpo_core.storage.exclusive import UNSUPPORTED
from dpo_core.storage.local_cache import local_copy
from dpo_core.storage.names import refuse_links, refuse_links_below, stays_inside
from dpo_core.storage.partial import (
    PARTIAL_PREFIX,
    partial_file,
    partial_folder,
    partial_name,
)
from dpo_core.storage.retry import (
    full_disk_as_storage_error,
    retry_while_unreachable,
    wrong_kind_as_storage_error,
)


@dataclass(frozen=True)
class Store:
    """The files below one root. Every name is relative to it and has forward slashes."""

    uri: str
    filesystem: pafs.FileSystem
    root: str
    follows_links: bool = False
    """Whether names may lead through links, as in the folder of a model from a hub's cache."""

    @classmethod
    def open(cls, uri: str | os.PathLike[str]) -> Store:
        """Open a directory or a URI. Raises SettingsError when no file system has the URI's scheme."""
        text = os.fspath(uri)
        if "://" not in text:
            root = str(Path(text).expanduser().resolve())
            return cls(root, pafs.LocalFileSystem(), root)
        try:
            filesystem, root = pafs.FileSystem.from_uri(text)
        except (ValueError, NotImplementedError):  # the base classes of ArrowInvalid and the like
            filesystem, root = _fsspec(text)
        return cls(text.rstrip("/"), filesystem, root)

    @property
    def local(self) -> Path | None:
        """Return the path of the directory, or None if this is no file system of the machine."""
        is_local = isinstance(self.filesystem, pafs.LocalFileSystem)
        return Path(self.root) if is_local else None

    def at(self, name: str) -> Store:
        """Return the store of the sub-folder `name`, which may itself be a link."""
        root = f"{self.root}/{self._inside(name)}"
        return replace(self, uri=f"{self.uri}/{name}", root=root)

    def holds(self, uri: str) -> bool:
        """Return whether a path or URI leads into this store, whatever links are on its way."""
        if self.local is not None:
            return Path(self.root) in Path(uri).expanduser().resolve().parents
        return uri.startswith(f"{self.uri}/") and ".." not in PurePosixPath(uri).parts

    def local_path(self, name: str) -> Path | None:
        """Return the path of a name in a directory, whatever is there; None if this is none."""
        return None if self.local is None else Path(self._path(name))

    @retry_while_unreachable
    def exists(self, name: str) -> bool:
        """Return whether there is a file or folder of this name."""
        info = self.filesystem.get_file_info(self._path(name))
        return bool(info.type != pafs.FileType.NotFound)

    @retry_while_unreachable
    def names(self, folder: str = "") -> list[str]:
        """Return the sorted names in a folder, without files being written; none if it is absent."""
        selector = pafs.FileSelector(self._path(folder), allow_not_found=True)
        names = (PurePosixPath(i.path).name for i in self.filesystem.get_file_info(selector))
        return sorted(name for name in names if not name.startswith(PARTIAL_PREFIX))

    @retry_while_unreachable
    def size(self, folder: str) -> int:
        """Return the bytes of all files in a folder and below; 0 if it is absent."""
        selector = pafs.FileSelector(self._path(folder), recursive=True, allow_not_found=True)
        return sum(info.size or 0 for info in self.filesystem.get_file_info(selector))

    @retry_while_unreachable
    def read(self, name: str) -> bytes:
        """Return the content of a file. Raises FileNotFoundError."""
        try:
            with self.filesystem.open_input_stream(self._path(name)) as stream:
                content: bytes = stream.read()
                return content
        except OSError:
            self._refuse_folder(name)  # Arrow's own error has no number that tells the cause
            raise

    @retry_while_unreachable
    def sha256(self, name: str) -> str:
        """Return the SHA-256 of a file, read part by part, as hexadecimal digits.

        Raises FileNotFoundError.
        """
        digest = hashlib.sha256()
        try:
            with self.filesystem.open_input_stream(self._path(name)) as stream:
                while part := stream.read(_COPIED_BYTES):
                    digest.update(part)
        except OSError:
            self._refuse_folder(name)
            raise
        return digest.hexdigest()

    @retry_while_unreachable
    def write(self, name: str, content: bytes) -> None:
        """Write a file completely or not at all; on a local disk it is durable on return."""
        target = PurePosixPath(self._path(name))
        self.filesystem.create_dir(str(target.parent), recursive=True)
        if self.local is None:
            with self.filesystem.open_output_stream(str(target)) as stream:
                stream.write(content)
            return
        with partial_file(Path(target.parent)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, target)

    @retry_while_unreachable
    def append(self, name: str, content: bytes) -> None:
        """Append all of `content` to a file, or nothing.

        Only one process may append at a time. In an object store the file is rewritten.
        """
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
        """Yield a local path to write a large file to.

        The file becomes `name` when the block ends, and is deleted when the block fails.
        """
        target = Path(self._path(name)) if self.local else None
        parent = PurePosixPath(name).parent.as_posix()
        with (
            full_disk_as_storage_error(self),
            wrong_kind_as_storage_error(self, name),
            self.scratch("" if parent == "." else parent) as folder,
        ):
            partial = folder / PurePosixPath(name).name
            yield partial
            if target:
                with open(partial, "rb+") as file:
                    os.fsync(file.fileno())
                os.replace(partial, target)
                return
            self._put(partial, name)

    @contextmanager
    def scratch(self, name: str = "") -> Iterator[Path]:
        """Yield an empty local folder, which is deleted after the block.

        Where the store is a directory it lies in the folder `name`, from where moving a file or folder
        into the store copies nothing.
        """
        if self.local is None:
            with tempfile.TemporaryDirectory(prefix=PARTIAL_PREFIX) as folder:
                yield Path(folder)
            return
        parent = Path(self._path(name))
        parent.mkdir(parents=True, exist_ok=True)
        with partial_folder(parent) as partial:
            yield partial

    @retry_while_unreachable
    def local_file(self, name: str) -> Path:
        """Return a local path of the file, which can be mapped into memory.

        In a directory this is the file itself, otherwise a copy that all processes of the machine
        share. Raises FileNotFoundError.
        """
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
        identity = f"{self.uri}/{name} {info.size} {info.mtime_ns}"

        def fetch(target: Path) -> None:
            with self.filesystem.open_input_stream(info.path) as stream, target.open("wb") as file:
                shutil.copyfileobj(stream, file, _COPIED_BYTES)

        return local_copy(identity, PurePosixPath(name).name, fetch)

    @retry_while_unreachable
    def upload(self, folder: Path, name: str, *, last: str) -> None:
        """Store a local folder under a name.

        A directory gets it in place of a folder of that name, an object store file by file.

        Args:
            folder: The folder on this machine. A store on the same disk moves it away.
            name: The folder's name in the store.
            last: The name of the file that an object store gets last, so that a reader who finds
                it knows that all others are there.
        """
        if self.local is not None:
            self._move_in(folder, name)
            return
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        for path in sorted(files, key=lambda p: p.name == last):
            self.write(f"{name}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    @retry_while_unreachable
    def download(self, name: str, folder: Path) -> Path:
        """Return a local folder with the content of `name`: `folder`, or the original in a directory.

        Raises StorageError where the original has a link in it, which its reader would follow.
        """
        if self.local is not None:
            self.refuse_links(name)
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
        """Delete a file or folder; one that is absent is no error."""
        info = self.filesystem.get_file_info(self._path(name))
        if info.type == pafs.FileType.Directory:
            self.filesystem.delete_dir(info.path)
        elif info.type == pafs.FileType.File:
            self.filesystem.delete_file(info.path)

    def lock(self, name: str) -> AbstractContextManager[object]:
        """Return a lock that one process at a time can hold; released when its process ends.

        On object stores, and where the file system has no file locks, it locks nothing. The worst
        that happens there is that two processes write the same content.
        """
        if self.local is None:
            return nullcontext()
        path = Path(self._path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        return self._file_lock(path, name)

    @contextmanager
    def _file_lock(self, path: Path, name: str) -> Iterator[None]:
        # Not the library's own way out, a file that exists: it is left behind by a kill.
        lock = FileLock(str(path), fallback_to_soft=False)
        try:
            with wrong_kind_as_storage_error(self, name):
                lock.acquire()
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            yield
            return
        try:
            yield
        finally:
            lock.release()

    def refuse_links(self, name: str = "") -> None:
        """Raise StorageError where anything in a folder is a link; an object store has none."""
        path = Path(self._path(name))
        if self.local is not None and not self.follows_links:
            refuse_links_below(path)

    def _path(self, name: str) -> str:
        path = f"{self.root}/{self._inside(name)}".rstrip("/")
        if self.local is not None and not self.follows_links:
            refuse_links(self.root, name)
        return path

    def _inside(self, name: str) -> str:
        if name and not stays_inside(name):
            raise StorageError(
                f"{self.uri}: a file of it names {name!r}, which leaves the folder; restore that file "
                "from a copy"
            )
        return name

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
        with partial_folder(target.parent) as partial:
            moved = partial / "moved"
            _copy_tree(folder, moved)
            _set_usual_modes(moved)
            if target.exists():
                self.delete(name)
            moved.rename(target)


_COPIED_BYTES = 2**20


def _copy_tree(source: Path, target: Path) -> None:
    try:
        source.rename(target)  # the same disk: no copy at all
    except OSError:
        shutil.copytree(source, target)


def _set_usual_modes(folder: Path) -> None:
    """Give every file the mode that a new file gets here, whatever the library that wrote it chose.

    Safetensors writes files that only their owner may read.
    """
    probe = folder / partial_name()
    probe.touch()
    mode = probe.stat().st_mode & 0o777
    probe.unlink()
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)


def _fsspec(uri: str) -> tuple[pafs.FileSystem, str]:
    import fsspec

    try:
        filesystem, root = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise SettingsError(
            f"storage: {uri} cannot be opened ({error}); use a folder or an installed fsspec scheme"
        ) from None
    return pafs.PyFileSystem(pafs.FSSpecHandler(filesystem)), root
