"""Digests of files: computed once, and again when the file is another."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from dpo_core.storage.file_digests import file_sha256


def test_a_file_is_read_once_until_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, read = tmp_path / "a.arrow", []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: read.append(1) or digest(*a))
    for content in (b"first", b"other"):
        file.unlink(missing_ok=True)
        file.write_bytes(content)
        for _ in range(2):
            assert file_sha256(file) == hashlib.sha256(content).hexdigest()
    assert len(read) == 2


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        file_sha256(tmp_path / "nowhere")
