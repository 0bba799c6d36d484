"""Stores in directories and at URIs: writes are complete or absent, names stay below the root."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
from pathlib import Path

import pytest

from dpo_core.errors import SettingsError, StorageError
from dpo_core.storage.store import Store

_NUMBER = itertools.count()


@pytest.fixture(params=["folder", "file", "local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A directory, the same as a URI, and two fsspec file systems."""
    uris = {
        "folder": str(tmp_path / "root"),
        "file": f"file://{tmp_path}/root",
        "local": f"local://{tmp_path}/root",
        "memory": f"memory://store-{next(_NUMBER)}",
    }
    return Store.open(uris[request.param])


# --- every kind of store ----------------------------------------------------------------------


def test_write_then_read(store: Store) -> None:
    store.write("deep/down/a.txt", b"first")
    store.write("deep/down/a.txt", b"2nd")
    assert store.read("deep/down/a.txt") == b"2nd"


def test_exists_and_delete(store: Store) -> None:
    assert not store.exists("deep/a.txt")
    store.write("deep/a.txt", b"x")
    store.write("deep/b.txt", b"x")
    assert store.exists("deep/a.txt")
    assert store.exists("deep")
    store.delete("deep/a.txt")
    assert not store.exists("deep/a.txt")
    store.delete("deep")
    assert not store.exists("deep/b.txt")
    store.delete("deep")  # absent: nothing happens


def test_what_is_absent_cannot_be_read(store: Store) -> None:
    for read in (store.read, store.sha256):
        with pytest.raises(FileNotFoundError):
            read("nowhere.txt")


def test_the_digest_of_a_file(store: Store) -> None:
    content = bytes(range(256)) * 5000  # several parts
    store.write("deep/a.bin", content)
    assert store.sha256("deep/a.bin") == hashlib.sha256(content).hexdigest()


def test_uploaded_files_get_the_modes_of_new_files(tmp_path: Path) -> None:
    store, folder = Store.open(tmp_path / "root"), tmp_path / "new"
    (folder / "inside").mkdir(parents=True)
    for name in ("a.bin", "inside/b.bin"):
        (folder / name).write_bytes(b"x")
        (folder / name).chmod(0o600)  # as safetensors does
    before = os.umask(0o027)
    try:
        store.upload(folder, "best", last="a.bin")
    finally:
        os.umask(before)
    modes = {p.stat().st_mode & 0o777 for p in (tmp_path / "root").rglob("*.bin")}
    assert modes == {0o640}
    assert store.names("best") == ["a.bin", "inside"]


def test_a_folder_where_a_file_belongs_is_said_in_one_line_and_stays(store: Store) -> None:
    store.write("prepared.json/inside", b"x")

    def write_large() -> None:
        with store.writing("prepared.json") as file:
            file.write_bytes(b"y")

    # An object store has no folders of its own: the file and what is below it are both there.
    writes = (lambda: store.write("prepared.json", b"y"), write_large) if store.local else ()
    for act in (
        lambda: store.read("prepared.json"),
        lambda: store.sha256("prepared.json"),
        lambda: store.append("prepared.json", b"y"),
        lambda: store.local_file("prepared.json"),
        *writes,
    ):
        with pytest.raises(StorageError, match=r"/prepared\.json: is a folder, .* move it away"):
            act()
    assert store.read("prepared.json/inside") == b"x"
    assert store.names() == ["prepared.json"]


def test_a_file_where_a_folder_belongs_is_said_in_one_line(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.write("trials", b"x")
    for act in (
        lambda: store.names("trials"),
        lambda: store.read("trials/t0000.json"),
        lambda: store.write("trials/t0000.json", b"y"),
        lambda: store.append("trials/t0000.json", b"y"),
    ):
        with pytest.raises(StorageError, match=r"/trials.*: a file stands where a folder belongs"):
            act()


def test_names_are_sorted_and_an_absent_folder_is_empty(store: Store) -> None:
    assert store.names("trials") == []
    for name in ("b.txt", "a.txt", "c/d.txt"):
        store.write(f"trials/{name}", b"x")
    assert store.names("trials") == ["a.txt", "b.txt", "c"]


def test_append(store: Store) -> None:
    store.append("ledger/lines.jsonl", b"1\n")
    store.append("ledger/lines.jsonl", b"2\n")
    assert store.read("ledger/lines.jsonl") == b"1\n2\n"


def test_a_sub_store_sees_its_folder(store: Store) -> None:
    sub = store.at("trials/t1")
    sub.write("a.txt", b"x")
    assert store.read("trials/t1/a.txt") == b"x"
    assert sub.names() == ["a.txt"]
    assert sub.uri == f"{store.uri}/trials/t1"


def test_upload_and_download(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / "manifest.json").write_bytes(b"m")
    (source / "inner" / "weights").write_bytes(b"w")
    store.upload(source, "checkpoints/best", last="manifest.json")
    assert store.names("checkpoints") == ["best"]
    folder = store.download("checkpoints/best", tmp_path / "target")
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert names == {"manifest.json", "inner/weights"}
    assert (folder / "inner" / "weights").read_bytes() == b"w"


def test_upload_replaces_what_was_there(store: Store, tmp_path: Path) -> None:
    for content in (b"old", b"new"):
        source = tmp_path / f"source-{content.decode()}"
        source.mkdir()
        (source / "manifest.json").write_bytes(content)
        store.upload(source, "best", last="manifest.json")
    assert store.read("best/manifest.json") == b"new"


def test_a_root_with_a_trailing_slash_is_the_same_root(store: Store) -> None:
    store.write("deep/a.txt", b"x")
    assert Store.open(f"{store.uri}/").read("deep/a.txt") == b"x"


def test_a_store_can_be_opened_again_from_its_uri(store: Store) -> None:
    store.write("a.txt", b"x")
    assert Store.open(store.uri).read("a.txt") == b"x"
    assert Store.open(store.at("deep").uri).names() == []


@pytest.mark.parametrize("name", ["..", "../a.txt", "a/../../b", "a/..", "/etc/passwd"])
def test_names_that_leave_the_folder_are_refused(store: Store, name: str) -> None:
    for use in (store.read, store.exists, store.names, store.delete, store.at):
        with pytest.raises(StorageError, match="leaves the folder"):
            use(name)
    for put in (store.write, store.append):
        with pytest.raises(StorageError, match="leaves the folder"):
            put(name, b"x")


# --- directories ------------------------------------------------------------------------------


def test_a_reader_never_sees_part_of_a_file(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    contents = [bytes([c]) * 300_000 for c in b"ab"]
    store.write("x.bin", contents[0])
    seen, stop = set(), threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(store.read("x.bin"))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(60):
        store.write("x.bin", contents[number % 2])
    stop.set()
    reader.join()
    assert seen <= set(contents)
    assert store.names() == ["x.bin"]


def test_a_write_that_fails_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path)
    store.write("x.bin", b"old")

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        store.write("x.bin", b"new")
    assert store.read("x.bin") == b"old"


def test_a_file_that_a_killed_process_left_half_written_is_not_listed(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.write("trials/a.txt", b"x")
    (tmp_path / "trials" / ".writing-0123").write_bytes(b"half")
    assert store.names("trials") == ["a.txt"]


def test_download_from_a_directory_copies_nothing(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "root")
    store.write("best/a.txt", b"x")
    assert store.download("best", tmp_path / "unused") == tmp_path / "root" / "best"
    assert not (tmp_path / "unused").exists()


def test_a_path_with_blanks_quotes_and_a_line_break(tmp_path: Path) -> None:
    odd = tmp_path / "a 'b' \"c\"\n100%25 d"
    store = Store.open(odd)
    store.write("x y.txt", b"x")
    assert (odd / "x y.txt").read_bytes() == b"x"
    assert Store.open(store.uri).names() == ["x y.txt"]


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store.open("~/sweeps").local == tmp_path / "sweeps"


def test_a_lock_outside_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="leaves the folder"):
        Store.open(tmp_path).lock("../x.lock")


def test_a_file_uri_is_a_directory_too(tmp_path: Path) -> None:
    assert Store.open(f"file://{tmp_path}").local == tmp_path


def test_the_lock_keeps_others_out(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    order = []

    def late() -> None:
        with store.lock("locks/x.lock"):
            order.append("late")

    with store.lock("locks/x.lock"):
        thread = threading.Thread(target=late)
        thread.start()
        thread.join(0.2)
        order.append("early")
    thread.join(10)
    assert order == ["early", "late"]


# --- object stores ----------------------------------------------------------------------------


def test_the_last_file_arrives_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open("memory://upload-order")
    for name in ("a", "manifest.json", "z"):
        (tmp_path / name).write_bytes(b"x")
    arrived = []
    monkeypatch.setattr(Store, "write", lambda _, name, content: arrived.append(name))
    store.upload(tmp_path, "best", last="manifest.json")
    assert arrived == ["best/a", "best/z", "best/manifest.json"]


def test_a_remote_lock_lets_everybody_in() -> None:
    store = Store.open("memory://locks")
    with store.lock("x.lock"), store.lock("x.lock"):
        assert not store.exists("x.lock")


@pytest.mark.parametrize("uri", ["nowhere://bucket/a", "s4://bucket", "memry://x"])
def test_an_unknown_scheme_is_the_users_to_mend(uri: str) -> None:
    with pytest.raises(SettingsError, match=rf"storage: {uri} cannot be opened .*; use a folder"):
        Store.open(uri)


# --- large files ------------------------------------------------------------------------------


def test_a_large_file_is_written_aside_and_mapped_from_this_machine(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # where a bucket's file is copied to
    with store.writing("deep/large.bin") as path:
        path.write_bytes(b"first")
        assert not store.exists("deep/large.bin")
    assert store.local_file("deep/large.bin").read_bytes() == b"first"
    assert store.names("deep") == ["large.bin"]


def test_a_large_file_that_fails_is_not_there(store: Store) -> None:
    def write_half() -> None:
        with store.writing("large.bin") as path:
            path.write_bytes(b"half of it")
            raise RuntimeError("half")

    with pytest.raises(RuntimeError, match="half"):
        write_half()
    assert store.names() == []
    with pytest.raises(FileNotFoundError):
        store.local_file("large.bin")


def test_a_copy_follows_the_file(store: Store) -> None:
    for content in (b"first", b"second one"):
        with store.writing("large.bin") as path:
            path.write_bytes(content)
        assert store.local_file("large.bin").read_bytes() == content


def test_a_copy_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = Store.open(f"memory://store-{next(_NUMBER)}")
    store.write("large.bin", b"content")
    first = store.local_file("large.bin")
    before = first.stat()
    assert store.local_file("large.bin") == first
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert first.is_relative_to(tmp_path)
