"""A probe of a storage before work starts: can it be reached and written, and has it room?"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from dpo_core.errors import StorageError
from dpo_core.storage.partial import partial_name
from dpo_core.storage.retry import FIRST_CONTACT_S, retrying_for
from dpo_core.storage.store import Store

_CONTENT = b"can this storage be written and read?"


def check_storage(store: Store, needed_bytes: int) -> None:
    """Write, read and delete a small file, and compare the free space with what is needed.

    Args:
        store: The storage; its folder is made if it does not exist.
        needed_bytes: What the work will write at least. An object store does not say what it has.

    Raises:
        StorageError: The storage cannot be reached or written, or has too little room.
    """
    name = partial_name()
    try:
        with retrying_for(FIRST_CONTACT_S):
            store.write(name, _CONTENT)
            is_intact = store.read(name) == _CONTENT
            store.delete(name)
    except OSError as error:
        reason = error.strerror or str(error).strip().partition("\n")[0]
        raise StorageError(
            f"{store.uri}: cannot be written ({reason}); give a storage that this user may write to"
        ) from error
    if not is_intact:
        raise StorageError(
            f"{store.uri}: a file that was just written reads otherwise; check that storage"
        )
    if store.local is not None:
        _check_room(store.local, needed_bytes, "storage")


def check_temporary_folder(needed_bytes: int) -> None:
    """Check that the folder of temporary files can be written and has room.

    Raises:
        StorageError: It cannot be written, or has too little room.
    """
    way_out = "set TMPDIR to a folder that can be written and has room"
    try:
        folder = tempfile.gettempdir()
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(_CONTENT)
            file.flush()
    except OSError as error:
        raise StorageError(
            f"temporary files cannot be written ({error.strerror or error}); {way_out}"
        ) from error
    _check_room(Path(folder), needed_bytes, "TMPDIR")


def _check_room(folder: Path, needed_bytes: int, setting: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise StorageError(
            f"{folder}: {free / 2**20:,.0f} MiB are free, and at least "
            f"{needed_bytes / 2**20:,.0f} MiB are needed; make room, or give another {setting}"
        )
