"""Folders of data files are read, and nothing out of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dpo_core.errors import DataError
from dpo_core.preferences import load_data, load_pairs
from dpo_core.settings import SourceSettings
from tests.support.preference_rows import LINE, ROWS, content_of, load_error, refused, write_jsonl


@pytest.fixture
def expected(tmp_path: Path) -> list[tuple[Any, ...]]:
    return content_of(load_pairs(str(write_jsonl(tmp_path / "expected" / "pairs.jsonl"))))


def test_files_in_the_order_of_their_names(tmp_path: Path, expected: list[tuple[Any, ...]]) -> None:
    write_jsonl(tmp_path / "d" / "part-1.jsonl", ROWS[2:])
    (tmp_path / "d" / "part-0.json").write_text(json.dumps(ROWS[:2]))
    (tmp_path / "d" / "README.md").write_text("Hello")
    (tmp_path / "d" / "dataset_infos.json").write_text("{}")
    assert content_of(load_pairs(str(tmp_path / "d"))) == expected


@pytest.mark.parametrize("inside", ["", "data"])
def test_splits_are_not_poured_together(
    tmp_path: Path, expected: list[tuple[Any, ...]], inside: str
) -> None:
    write_jsonl(tmp_path / "d" / inside / "train-00000-of-00002.jsonl", ROWS[:2])
    write_jsonl(tmp_path / "d" / inside / "train-00001-of-00002.jsonl", ROWS[2:4])
    write_jsonl(tmp_path / "d" / inside / "test.jsonl", ROWS[4:])
    assert content_of(load_pairs(str(tmp_path / "d"))) == expected[:4]
    assert content_of(load_pairs(str(tmp_path / "d"), split="test")) == expected[4:]
    assert load_error(tmp_path / "d", "dev") == (
        ": no split 'dev' (found: test, train); set `split`"
    )


def test_data_sets_are_not_poured_together(tmp_path: Path) -> None:
    for name, rows in {"helpful": ROWS[:2], "harmless": ROWS[2:]}.items():
        write_jsonl(tmp_path / "hh" / f"{name}-base" / "train.jsonl", rows)
    assert ": holds several data sets (harmless-base, helpful-base)" in load_error(tmp_path / "hh")
    sources = [
        SourceSettings(path=str(tmp_path / "hh"), subset=f"{name}-base")
        for name in ("helpful", "harmless")
    ]
    pairs = load_data(sources).pairs
    assert pairs.column("source") == ["hh-helpful-base"] * 2 + ["hh-harmless-base"] * 3
    together = SourceSettings(path=str(tmp_path / "hh"), data_files="*/train.jsonl")
    assert len(load_data([together]).pairs) == 5


def test_the_readme_says_what_belongs_together(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "d" / "one.jsonl", ROWS[:2])
    write_jsonl(tmp_path / "d" / "two.jsonl", ROWS[2:])
    (tmp_path / "d" / "README.md").write_text(
        "---\nconfigs:\n- config_name: all\n  data_files: [one.jsonl, two.jsonl]\n---\n"
    )
    assert len(load_pairs(str(tmp_path / "d"))) == 5


@pytest.mark.parametrize("target", ["../outside.jsonl", "{outside}", "http://127.0.0.1:9/x.jsonl"])
def test_a_readme_names_no_file_outside(tmp_path: Path, target: str) -> None:
    outside = write_jsonl(tmp_path / "outside.jsonl")
    write_jsonl(tmp_path / "d" / "inside.jsonl")
    (tmp_path / "d" / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n"
        f"    path: {target.format(outside=outside)}\n---\n"
    )
    assert load_error(tmp_path / "d").startswith("/README.md: names ")


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    assert load_error(tmp_path / "d").startswith(": holds no data file (.jsonl, .json, ")


# Links


@pytest.mark.parametrize("inside", ["", "train"])
def test_a_link_out_of_the_folder(tmp_path: Path, inside: str) -> None:
    outside, folder = tmp_path / "outside.jsonl", tmp_path / "data" / inside
    folder.mkdir(parents=True)
    for file in (outside, folder / "part-0.jsonl"):
        file.write_bytes(LINE)
    link = folder / "part-1.jsonl"
    link.symlink_to(outside)
    message = refused(tmp_path / "data")
    assert f"part-1.jsonl: is a link to {outside}, which is outside" in message
    link.unlink()
    link.symlink_to("part-0.jsonl")  # one that stays inside is a file like any other
    assert len(load_pairs(str(tmp_path / "data"))) == 2


def test_a_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "outside" / "train.jsonl")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "data").symlink_to(tmp_path / "outside")
    assert ": holds no data file" in load_error(tmp_path / "d")


def test_a_readme_that_is_a_link(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "d" / "train.jsonl")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "d" / "README.md").symlink_to(tmp_path / "secret")
    assert load_error(tmp_path / "d").startswith("/README.md: is a link to ")


def snapshot(tmp_path: Path) -> Path:
    """A snapshot of the hub's cache, whose one file is a link into `blobs`."""
    repository = tmp_path / "datasets--owner--pairs"
    (repository / "blobs").mkdir(parents=True)
    (repository / "blobs" / "0a1b").write_bytes(LINE)
    folder = repository / "snapshots" / "c0ffee"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "train.jsonl").symlink_to("../../../blobs/0a1b")
    return folder


def test_links_of_a_snapshot_of_the_hub(tmp_path: Path) -> None:
    folder = snapshot(tmp_path)
    assert len(load_pairs(str(folder))) == 1
    assert len(load_pairs(str(folder / "data"))) == 1


def test_links_of_a_snapshot_into_another_repository(tmp_path: Path) -> None:
    folder = snapshot(tmp_path)
    other = tmp_path / "datasets--owner--secret" / "blobs"
    other.mkdir(parents=True)
    (other / "0a1b").write_bytes(LINE)
    link = folder / "data" / "train.jsonl"
    link.unlink()
    link.symlink_to(other / "0a1b")
    assert "which is outside" in refused(folder)
    link.unlink()
    link.symlink_to("../../../blobs/0a1b")
    blobs = folder.parent.parent / "blobs"
    (blobs / "0a1b").unlink()
    blobs.rmdir()
    blobs.symlink_to(other)
    assert "which is outside" in refused(folder)


def test_a_folder_of_very_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpo_core.preferences.files.folders._MOST_FILES", 2)
    for number in range(3):
        write_jsonl(tmp_path / "d" / f"a-{number}.jsonl")
    with pytest.raises(DataError, match="holds more than 2 files"):
        load_pairs(str(tmp_path / "d"))
