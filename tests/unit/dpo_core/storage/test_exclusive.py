"""Exclusive creation, and file systems that lack it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dpo_core.errors import StorageError
from dpo_core.storage.exclusive import create_exclusively


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
