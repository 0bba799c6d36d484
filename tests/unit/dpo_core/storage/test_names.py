"""Nothing in a folder of ours leads out of it: no name with `..`, no absolute path, no link."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dpo_core.errors import StorageError
from dpo_core.storage.names import stays_inside
from dpo_core.storage.store import Store

SECRET = b"the victim's own"


@pytest.mark.parametrize("name", ["a", "a/b.json", "..a", "a..b/c"])
def test_a_name_that_stays(name: str) -> None:
    assert stays_inside(name)


@pytest.mark.parametrize("name", ["", "..", "../a", "a/../../b", "/etc/passwd", "a\0b", None, 3])
def test_what_is_no_name_or_leaves(name: object) -> None:
    assert not stays_inside(name)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that is none of the store's."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_bytes(SECRET)
    return folder


@pytest.fixture
def store(tmp_path: Path, outside: Path) -> Store:
    """A store with a link to a file, a link to a folder, and a link in a folder."""
    store = Store.open(tmp_path / "root")
    store.write("best/config.json", b"{}")
    root = Path(store.root)
    (root / "file").symlink_to(outside / "secret")
    (root / "folder").symlink_to(outside)
    (root / "best" / "weights").symlink_to("../../outside/secret")
    return store


USES: list[Callable[[Store], object]] = [
    lambda store: store.read("file"),
    lambda store: store.read("folder/secret"),
    lambda store: store.sha256("best/weights"),
    lambda store: store.exists("folder/secret"),
    lambda store: store.names("folder"),
    lambda store: store.local_file("file"),
    lambda store: store.write("file", b"mine"),
    lambda store: store.write("folder/secret", b"mine"),
    lambda store: store.append("file", b"mine"),
    lambda store: store.delete("folder/secret"),
    lambda store: store.delete("folder"),
    lambda store: store.writing("folder/new").__enter__(),
    lambda store: store.lock("folder/lock").__enter__(),
    lambda store: store.local_path("folder/new"),
    lambda store: store.download("best", Path(store.root) / "copy"),
    lambda store: store.refuse_links(),
    lambda store: store.upload(Path(store.root) / "best", "folder", last="config.json"),
]


@pytest.mark.parametrize("number", range(len(USES)))
def test_no_link_is_read_or_written_through(store: Store, outside: Path, number: int) -> None:
    with pytest.raises(StorageError, match=r"is a link, and none is followed .*delete it, and"):
        USES[number](store)
    assert [(p.name, p.read_bytes()) for p in outside.iterdir()] == [("secret", SECRET)]


def test_what_is_deleted_or_replaced_takes_no_link_s_target_along(
    store: Store, outside: Path, tmp_path: Path
) -> None:
    (Path(store.root) / "best" / "all").symlink_to(outside)
    (tmp_path / "new").mkdir()
    store.upload(tmp_path / "new", "best", last="config.json")
    assert (outside / "secret").read_bytes() == SECRET


def test_a_pipe_is_not_waited_for(store: Store) -> None:
    os.mkfifo(Path(store.root) / "pipe")
    with pytest.raises(StorageError, match="is neither a file nor a folder; delete it"):
        store.read("pipe")


def test_links_to_the_folder_itself_are_its_owner_s(store: Store, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "moved").symlink_to(store.root)
    assert Store.open(tmp_path / "runs").at("moved").read("best/config.json") == b"{}"
    assert Store.open(tmp_path / "runs" / "moved").read("best/config.json") == b"{}"


def test_whether_a_store_holds_a_path(store: Store, tmp_path: Path) -> None:
    assert store.holds(f"{store.uri}/night/best")
    for path in ("/etc", f"{store.uri}/../outside", f"{store.uri}/folder/secret", store.uri):
        assert not store.holds(path)
    bucket = Store.open("memory://bucket")
    assert bucket.holds("memory://bucket/night/best")
    assert not bucket.holds("memory://bucket/../other")
    assert not bucket.holds("memory://bucket2/night")
