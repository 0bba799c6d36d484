"""Exclusive creation, and file systems that lack it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dpo_core.errors import StorageError
from dpo_core.storage.exclusive import create_exclusively
from tests.support.small_disk import fill, mounted


def test_the_second_creates_nothing(tmp_path: Path) -> None:
    assert create_exclusively(tmp_path / "1", b"first")
    assert not create_exclusively(tmp_path / "1", b"second")
    assert (tmp_path / "1").read_bytes() == b"first"


def test_a_file_system_without_it_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageError, match=rf"^{tmp_path}: exclusive .*Operation not supported"):
        create_exclusively(tmp_path / "1", b"")


def test_an_error_of_another_kind_is_itself(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        create_exclusively(tmp_path / "no folder" / "1", b"")


def test_what_a_full_disk_leaves_is_removed(
    tmp_path: Path,
) -> None:
    with mounted(tmp_path / "disk", mebibytes=1) as disk:
        fill(disk)
        with pytest.raises(OSError, match="No space left"):
            create_exclusively(disk / "1", bytes(8192))
        assert not (disk / "1").exists()
