"""The one reader of JSON files: its modes, what it says of damage, and that every file has its kind."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from dpo_core.errors import StorageError
from dpo_core.storage.store import Store
from sweeps.run_dir import json_files
from sweeps.run_dir.json_files import DamagedFile, JsonFile

NAME = "prepared.json"
KIND = JsonFile("`dpo-sweeps resume {folder}` prepares it again", keys=("a", "b"))
ROWS = JsonFile("delete it", keys=("a",), is_list=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "hh-1")


def test_a_whole_file_is_read_in_every_mode(store: Store) -> None:
    content = {"a": 1, "b": None, "more": [2]}
    store.write(NAME, json.dumps(content).encode())
    for read in (KIND.required, KIND.optional, KIND.rebuildable):
        assert read(store, NAME) == content
    store.write(NAME, b'[{"a": 1}, {"a": 2}]')
    assert ROWS.required(store, NAME) == [{"a": 1}, {"a": 2}]


def test_only_the_required_mode_misses_a_file(store: Store) -> None:
    assert KIND.optional(store, NAME) is None
    assert KIND.rebuildable(store, NAME) is None
    with pytest.raises(DamagedFile) as missing:
        KIND.required(store, NAME)
    assert str(missing.value) == (
        f"{store.uri}/prepared.json: is missing; `dpo-sweeps resume {store.uri}` prepares it again"
    )


@pytest.mark.parametrize(
    ("kind", "content", "problem"),
    [
        (KIND, b"", "is empty"),
        (KIND, b'{"a": 1, "b"', "is cut off"),
        (KIND, b"\0\0\0", "is not JSON"),
        (KIND, b"[]", "holds a list where an object belongs"),
        (KIND, b"null", "holds null where an object belongs"),
        (KIND, b"true", "holds a boolean where an object belongs"),
        (KIND, b'{"a": 1}', "lacks 'b'"),
        (KIND, b"{}", "lacks 'a', 'b'"),
        (ROWS, b"{}", "holds an object where a list belongs"),
        (ROWS, b"[1]", "holds a number where an object belongs"),
        (ROWS, b'[{"a": 1}, "x"]', "holds a string where an object belongs"),
        (ROWS, b'[{"a": 1}, {}]', "lacks 'a'"),
    ],
)
def test_damage_is_named_with_the_file_and_the_way_out(
    store: Store,
    kind: JsonFile,
    content: bytes,
    problem: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store.write(NAME, content)
    way_out = kind.way_out.format(folder=store.uri)
    for read in (kind.required, kind.optional):
        with pytest.raises(DamagedFile) as damaged:
            read(store, NAME)
        assert str(damaged.value) == f"{store.uri}/{NAME}: {problem}; {way_out}"
        assert damaged.value.exit_code == 2
    with caplog.at_level(logging.WARNING, "dpo_sweeps"):
        assert kind.rebuildable(store, NAME) is None
    assert caplog.messages == [f"{store.uri}/{NAME}: {problem}; it is not used"]


def test_a_folder_is_refused_in_every_mode(store: Store) -> None:
    store.write(f"{NAME}/inside", b"")
    for read in (KIND.required, KIND.optional, KIND.rebuildable):
        with pytest.raises(StorageError, match="is a folder, and a file belongs there"):
            read(store, NAME)


def test_every_way_out_is_a_sentence_that_can_be_filled_in() -> None:
    kinds = {name: kind for name, kind in vars(json_files).items() if isinstance(kind, JsonFile)}
    assert len(kinds) > 15
    for name, kind in kinds.items():
        assert "{" not in kind.way_out.format(folder="runs/hh-1"), name
        assert kind.way_out[-1] not in ".;", name
