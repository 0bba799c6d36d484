"""What a path names is read up to the limit; what it does not name is told, and the hub not asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dpo_core.errors import DataError
from dpo_core.preferences import load_data, load_pairs
from dpo_core.settings import SourceSettings
from tests.support.preference_rows import LINE, ROWS, load_error, refused, write_jsonl


def ids(path: Path, **keys: Any) -> list[str]:
    return load_data([SourceSettings(path=str(path), **keys)]).pairs.column("id")


def test_the_limit_takes_the_same_rows_whatever_is_appended(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "pairs.jsonl", ROWS[:3])
    every = ids(path)
    assert ids(path, limit=2) == every[:2]
    assert ids(path, limit=9) == every
    write_jsonl(path, ROWS)
    assert ids(path, limit=2) == every[:2]
    write_jsonl(tmp_path / "d" / "part-0.jsonl", ROWS[:3])
    write_jsonl(tmp_path / "d" / "part-1.jsonl", ROWS[3:])
    assert ids(tmp_path / "d", limit=4) == ids(path)[:4]


def test_the_limit_is_of_one_source(tmp_path: Path) -> None:
    sources = [
        SourceSettings(path=str(write_jsonl(tmp_path / f"{name}.jsonl")), limit=limit)
        for name, limit in {"a": 2, "b": None, "c": 1}.items()
    ]
    assert load_data(sources).pairs.column("source") == ["a"] * 2 + ["b"] * 5 + ["c"]


def test_what_is_behind_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(LINE + b"\n{torn")
    assert len(ids(path, limit=1)) == 1
    with pytest.raises(DataError, match=r"pairs\.jsonl:2: invalid JSON"):
        ids(path, limit=2)


@pytest.mark.parametrize(
    "keys", [{"split": "test"}, {"subset": "helpful"}, {"data_files": "a.jsonl"}]
)
def test_a_file_has_no_parts(tmp_path: Path, keys: dict[str, Any]) -> None:
    [(name, value)] = keys.items()
    path = write_jsonl(tmp_path / "a.jsonl")
    with pytest.raises(DataError) as caught:
        ids(path, **keys)
    assert str(caught.value) == f"{path}: a file has no {name} {value!r}; leave `{name}` out"


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "pairs.jsonl")
    assert load_error(tmp_path / "pair.jsonl") == (
        f": no such file or folder (nearest in {tmp_path}: pairs.jsonl); check the spelling"
    )


def test_a_missing_folder_names_its_neighbours(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "sets" / "pairs.jsonl")
    assert load_error(tmp_path / "set" / "pairs.jsonl") == (
        f": no such file or folder (nearest in {tmp_path}: sets); check the spelling"
    )


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "pairs.jsonl")
    assert load_error(path / "train.jsonl") == (
        f": no such file or folder ({path} is a file); check the spelling"
    )


def test_a_folder_called_like_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "pairs.jsonl"
    folder.mkdir()
    assert refused(folder)


def test_a_link_to_nowhere(tmp_path: Path) -> None:
    link = tmp_path / "pairs.jsonl"
    link.symlink_to(tmp_path / "gone.jsonl")
    assert "no such file or folder" in refused(link)


def test_a_name_that_is_spelled_wrong_never_asks_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "sets" / "pairs" / "train.jsonl")
    monkeypatch.setattr("socket.socket.connect", connect)
    with pytest.raises(DataError) as caught:
        load_pairs("sets/pair")
    assert str(caught.value) == (
        f"sets/pair: no such file or folder (nearest in {tmp_path}/sets: pairs); check the spelling, "
        "or write hf://sets/pair for that data set of the Hugging Face hub"
    )
