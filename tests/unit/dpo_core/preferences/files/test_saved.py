"""Folders that `datasets` saved are read, and no file that is not theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
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


@pytest.mark.parametrize(
    ("column", "options", "reason"),
    [
        (pa.array(["x" * 2**24] * 8), {"compression": "zstd"}, "its buffers are compressed"),
        (
            pa.DictionaryArray.from_arrays(pa.array([0, 0]), ["x"]),
            {"compression": "lz4"},
            "its buffers are compressed",
        ),
        (pa.array(["x"], pa.string_view()), {}, "column 'prompt' is stored as string_view"),
        (
            pa.RunEndEncodedArray.from_arrays(pa.array([2**30], pa.int32()), pa.array(["x"])),
            {},
            "column 'prompt' is stored as run_end_encoded",
        ),
        (
            pa.FixedSizeListArray.from_arrays(pa.nulls(2**31 - 1), 2**31 - 1),
            {},
            "holds 2147483647 values in",
        ),
        (
            pa.DictionaryArray.from_arrays(pa.array([0] * 5000), ["x" * 2**20]),
            {},
            "as no text does",
        ),
    ],
)
def test_a_small_file_that_fills_the_memory_is_refused(
    saved: Path, column: pa.Array, options: dict[str, str], reason: str
) -> None:
    arrow = next(saved.glob("*.arrow"))
    batch = pa.record_batch({"prompt": column})
    written = pa.ipc.IpcWriteOptions(**options)
    with pa.ipc.new_stream(str(arrow), batch.schema, options=written) as stream:
        stream.write_batch(batch)
    assert reason in load_error(saved)


def test_names_of_a_dictionary_are_read(
    saved: Path, expected: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    for arrow in saved.glob("*.arrow"):
        table = pa.ipc.open_stream(arrow.read_bytes()).read_all()
        table = table.append_column("number", pa.array([1] * len(table)).dictionary_encode())
        table = table.append_column("name", pa.array(["a"] * len(table)).dictionary_encode())
        with pa.ipc.new_stream(str(tmp_path / "new"), table.schema) as stream:
            stream.write_table(table)
        (tmp_path / "new").rename(arrow)
    assert content_of(load_pairs(str(saved))) == expected
