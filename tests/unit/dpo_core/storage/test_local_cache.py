"""Copies of remote files: fetched once and completely, deleted when unused, private to the user."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dpo_core.storage.local_cache import UNUSED_S, local_copy


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / f"dpo-sweeps-{os.getuid()}"


def write(path: Path) -> None:
    path.write_bytes(b"content")


def never(path: Path) -> None:
    raise AssertionError("fetched again")


def test_it_is_fetched_once(folder: Path) -> None:
    first = local_copy("s3://bucket/a 7", "a.arrow", write)
    assert first.read_bytes() == b"content"
    assert local_copy("s3://bucket/a 7", "a.arrow", never) == first
    assert local_copy("s3://bucket/a 8", "a.arrow", write) != first, "another size, another copy"
    assert first.is_relative_to(folder)


def test_half_a_copy_is_none(folder: Path) -> None:
    def half(path: Path) -> None:
        path.write_bytes(b"con")
        raise OSError("the network went away")

    with pytest.raises(OSError, match="went away"):
        local_copy("a", "a.arrow", half)
    assert local_copy("a", "a.arrow", write).read_bytes() == b"content"


def test_what_is_unused_is_dropped_and_what_is_mapped_stays_readable() -> None:
    old, used = local_copy("old", "a", write), local_copy("used", "a", write)
    long_ago = time.time() - 2 * UNUSED_S
    for copy in (old, used):
        os.utime(copy, (long_ago, long_ago))
    assert local_copy("used", "a", never) == used, "which marks it as used"
    with old.open("rb") as mapped:
        local_copy("new", "a", write)
        assert not old.exists()
        assert mapped.read() == b"content"
    assert used.exists()
