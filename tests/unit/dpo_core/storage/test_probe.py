"""The probe of a storage: written, read, deleted; room; what cannot be reached."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from dpo_core.errors import StorageError
from dpo_core.storage import probe, retry
from dpo_core.storage.probe import check_storage, check_temporary_folder
from dpo_core.storage.store import Store
from tests.support import bucket
from tests.support.small_disk import fill, mounted


@pytest.mark.parametrize("scheme", ["", "bucket://"])
def test_a_storage_that_can_be_written_is_left_as_it_was(tmp_path: Path, scheme: str) -> None:
    check_storage(Store.open(f"{scheme}{tmp_path}/runs"), 1)
    assert list((tmp_path / "runs").iterdir()) == []


def test_too_little_room_is_refused_with_the_numbers(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=rf"^{tmp_path}: [\d,]+ MiB are free, and .* needed"):
        check_storage(Store.open(tmp_path), 2**60)
    with pytest.raises(StorageError, match="make room, or give another TMPDIR"):
        check_temporary_folder(2**60)


def test_a_storage_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(StorageError, match="a file stands where a folder belongs"):
        check_storage(Store.open(tmp_path / "runs"), 1)


def test_a_folder_that_cannot_be_made() -> None:
    with pytest.raises(StorageError, match=r"^/proc/\d+/runs: cannot be written \(.*No such file"):
        check_storage(Store.open("/proc/self/runs"), 1)


def test_a_folder_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(StorageError, match=r"cannot be written \(Permission denied\); give a st"):
        check_storage(Store.open(tmp_path), 1)
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_out_of_reach_is_not_waited_for_as_in_the_middle_of_a_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket.Bucket, "away", ConnectionError("no route to host"))
    monkeypatch.setattr(probe, "FIRST_CONTACT_S", 0.1)
    monkeypatch.setattr(retry, "_gave_up_on", set())
    with pytest.raises(StorageError, match=r"out of reach for 0\.1 s .no route to host"):
        check_storage(Store.open(f"bucket://{tmp_path}"), 1)


def test_temporary_files_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc/no-folder")
    with pytest.raises(StorageError, match=r"temporary files cannot be written .*set TMPDIR"):
        check_temporary_folder(1)


def test_disks_that_are_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mounted(tmp_path / "disk", mebibytes=1) as disk:
        monkeypatch.setattr("tempfile.tempdir", str(disk))
        fill(disk)
        with pytest.raises(StorageError, match=r"MiB are free|No space left .*set TMPDIR"):
            check_temporary_folder(2**20)
        with pytest.raises(StorageError, match=rf"^{disk}: (is full|0 MiB are free)"):
            check_storage(Store.open(disk), 2**20)
        assert [file.name for file in disk.iterdir()] == ["filler"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")
def test_a_folder_of_another_user(tmp_path: Path) -> None:
    """As a process of nobody, which has its modules loaded before it gives root up."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    child = os.fork()
    if child == 0:
        try:
            os.setgid(65534)
            os.setuid(65534)
            check_storage(Store.open(tmp_path / "runs"), 1)
        except StorageError as error:
            os._exit(0 if "cannot be written" in str(error) else 3)
        except BaseException:
            os._exit(4)
        os._exit(5)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
