"""Folders that `datasets` saved are read, and no file that is not theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dpo_core.preferences import load_pairs
from tests.support.preference_rows import ROWS, content_of, load_error, write_jsonl


@pytest.fixture
def expected(tmp_path: Path) -> list[tuple[Any, ...]]:
    return content_of(load_pairs(str(write_jsonl(tmp_path / "expected" / "pairs.jsonl"))))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    from datasets import Dataset

    Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved", num_shards=2)
    return tmp_path / "saved"


def test_a_data_set(saved: Path, expected: list[tuple[Any, ...]]) -> None:
    pairs = load_pairs(str(saved))
    assert content_of(pairs) == expected
    assert [pair.line for pair in pairs] == [1, 2, 3, 4, 5]
    assert load_error(saved, "test") == ": no split 'test' (found: train); set `split`"


def test_splits(tmp_path: Path, expected: list[tuple[Any, ...]]) -> None:
    from datasets import Dataset, DatasetDict

    saved = DatasetDict(train=Dataset.from_list(ROWS), test=Dataset.from_list(ROWS[:2]))
    saved.save_to_disk(tmp_path / "saved")
    assert content_of(load_pairs(str(tmp_path / "saved"))) == expected
    assert content_of(load_pairs(str(tmp_path / "saved"), split="test")) == expected[:2]
    assert load_error(tmp_path / "saved", "dev") == (
        ": no split 'dev' (found: train, test); set `split`"
    )


def test_a_damaged_one(saved: Path) -> None:
    arrow = next(saved.glob("*.arrow"))
    whole = arrow.read_bytes()
    arrow.write_bytes(whole[: len(whole) // 2])
    message = load_error(saved)
    assert ": cannot be read as a saved data set (" in message
    assert message.endswith("; save it again")
    (saved / "state.json").write_text("{}")
    assert load_error(saved) == (
        ": cannot be read as a saved data set (state.json names no files of this folder); save it again"
    )


@pytest.mark.parametrize("name", ["../other/data.arrow", "{tmp_path}/data.arrow", "", 3])
def test_no_file_outside_is_read(saved: Path, tmp_path: Path, name: Any) -> None:
    state = json.loads((saved / "state.json").read_text())
    given = name.format(tmp_path=tmp_path) if isinstance(name, str) else name
    state["_data_files"] = [{"filename": given}]
    (saved / "state.json").write_text(json.dumps(state))
    assert "state.json names no files of this folder" in load_error(saved)


def test_no_link_out_is_followed(saved: Path, tmp_path: Path) -> None:
    arrow = next(saved.glob("*.arrow"))
    arrow.rename(tmp_path / "moved.arrow")
    arrow.symlink_to(tmp_path / "moved.arrow")
    assert "which is outside of the folder" in load_error(saved)
