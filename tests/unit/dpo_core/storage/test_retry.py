"""Storage that fills up or is out of reach: a real small disk, and a file system that fails."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpo_core.errors import StorageError
from dpo_core.storage import retry
from dpo_core.storage.store import Store
from tests.support import bucket
from tests.support.small_disk import fill, mounted


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    with mounted(tmp_path / "disk", mebibytes=1) as folder:
        yield folder


def test_a_full_disk_leaves_old_files_and_no_half_written_ones(disk: Path, tmp_path: Path) -> None:
    store = Store.open(disk)
    store.write("prepared.json", b"old")
    store.append("ledger.jsonl", b"first\n")
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "weights").write_bytes(bytes(100_000))
    (folder / "manifest.json").write_text("{}")
    filler = fill(disk)
    for act in (
        lambda: store.write("prepared.json", bytes(100_000)),
        lambda: store.append("ledger.jsonl", bytes(100_000)),
        lambda: store.upload(folder, "checkpoints/t0000/step-1", last="manifest.json"),
    ):
        with pytest.raises(StorageError, match=r"disk: is full .*make room, and .*resume. goes on"):
            act()
    assert store.read("prepared.json") == b"old"
    assert store.read("ledger.jsonl") == b"first\n"
    assert store.names("checkpoints/t0000") == []
    filler.unlink()
    assert not list(disk.rglob(".writing-*")), "what was half-written takes no room"
    store.append("ledger.jsonl", b"second\n")
    store.upload(folder, "checkpoints/t0000/step-1", last="manifest.json")
    assert store.read("ledger.jsonl") == b"first\nsecond\n"
    assert store.names("checkpoints/t0000") == ["step-1"]


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(retry, "_FIRST_WAIT_S", 0.02)
    store = Store.open(f"bucket://{tmp_path}/remote")
    store.write("a", b"1")
    yield store
    bucket.Bucket.away = None
    retry._gave_up_on.clear()


AWAY = [
    ConnectionError("refused"),
    TimeoutError("timed out"),
    OSError("AWS Error NETWORK_CONNECTION"),
]


@pytest.mark.parametrize("error", AWAY, ids=lambda e: type(e).__name__)
def test_a_store_that_comes_back_is_waited_for(remote: Store, error: OSError) -> None:
    bucket.Bucket.away = error
    threading.Timer(0.5, lambda: setattr(bucket.Bucket, "away", None)).start()
    assert remote.read("a") == b"1"
    bucket.Bucket.away = error
    threading.Timer(0.3, lambda: setattr(bucket.Bucket, "away", None)).start()
    remote.append("a", b"2")
    assert (remote.read("a"), remote.names(), remote.exists("b")) == (b"12", ["a"], False)


def test_an_append_whose_answer_was_lost_is_not_done_twice(remote: Store) -> None:
    """The ledger must not have the line of a trial twice."""
    bucket.Bucket.lose_answers = 1
    remote.append("a", b"2\n")
    assert remote.read("a") == b"12\n"


def test_retries_end_and_are_not_repeated_while_cleaning_up(
    remote: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "RETRY_FOR_S", 0.3)
    bucket.Bucket.away = ConnectionError("refused")
    with pytest.raises(
        StorageError, match=r"remote: was out of reach for 0.3 s \(refused\).*resume"
    ):
        remote.write("b", b"2")
    monkeypatch.setattr(retry, "RETRY_FOR_S", 3600)
    with pytest.raises(StorageError):
        remote.delete("a")  # at once: cleaning up does not wait again
    bucket.Bucket.away = None
    assert (remote.names(), remote.read("a")) == (["a"], b"1")


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("a"),
        PermissionError("a"),
        OSError(errno.EROFS, "read-only"),
        OSError("AWS Error ACCESS_DENIED during PutObject"),
    ],
    ids=str,
)
def test_an_error_that_waiting_does_not_mend_is_raised_at_once(
    remote: Store, error: OSError
) -> None:
    bucket.Bucket.away = error
    with pytest.raises(type(error)):
        remote.read("a")


def test_a_missing_file_on_a_disk_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Store.open(tmp_path).read("nowhere")
