"""Readers of what preparing a sweep leaves: whole files are read, others refused with the way out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dpo_core.encoding.token_table import EncodedPair, TokenTable
from dpo_core.errors import UserError
from dpo_core.preferences import PairTable
from dpo_core.settings import TrainingSettings
from dpo_core.storage.store import Store
from sweeps.run_dir.json_files import DamagedFile
from sweeps.run_dir.paths import SPLITS, SweepPaths
from sweeps.run_dir.prepared import (
    Prepared,
    read_encoded,
    read_labels,
    read_pairs,
    read_reference,
    read_split,
)
from tests.support.toys import toy_pairs

AGAIN = "`dpo-sweeps resume .*/hh-1` prepares the sweep again"
ROWS = [{"id": f"p{n}", "group": f"g{n // 2}", "prompt": "?"} for n in range(4)]
PREPARED = Prepared("d1", "w1", "t1", {}, dict.fromkeys(SPLITS, "key"), {}, row_tokens=512)


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    paths = SweepPaths(Store.open(tmp_path), "hh-1")
    paths.store.write(paths.prepared, json.dumps(vars(PREPARED)).encode())
    encoded = [EncodedPair(str(row["id"]), (1,), (2,), (3,), source="a") for row in ROWS]
    with paths.store.writing(paths.encoded("select")) as file:
        TokenTable.write(encoded, file)
    write_split(paths, ROWS)
    return paths


def write_split(paths: SweepPaths, rows: list[dict[str, str]]) -> bytes:
    content = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    paths.store.write(paths.split("select"), content)
    return content


def test_what_was_prepared_is_read_back(paths: SweepPaths) -> None:
    assert Prepared.read(paths) == replace(
        PREPARED, findings=[], golden_dropped=[], rows_refused=[]
    )  # JSON's lists
    training = PREPARED.resolved_training(TrainingSettings(max_steps=4))
    assert (training.row_tokens, training.gradient_checkpointing) == (512, False)


def test_a_key_of_another_version_is_no_defect(paths: SweepPaths) -> None:
    content = {**vars(PREPARED), "later": 1}
    paths.store.write(paths.prepared, json.dumps(content).encode())
    with pytest.raises(DamagedFile, match=f"was written by another version .*later.*; {AGAIN}"):
        Prepared.read(paths)


def test_rows_of_a_split_all_or_some(paths: SweepPaths) -> None:
    assert read_split(paths, "select") == ROWS
    assert read_split(paths, "select", {"p3", "p1"}) == [ROWS[1], ROWS[3]]
    assert read_split(paths, "select", set()) == []


@pytest.mark.parametrize("lines", range(4))
def test_a_split_that_ends_with_a_whole_line_too_early_is_cut_off(
    paths: SweepPaths, lines: int
) -> None:
    """Nothing in the file says so: the tokens of its pairs do."""
    write_split(paths, ROWS[:lines])
    for ids in (None, {"p0"}):
        with pytest.raises(DamagedFile, match=rf"splits/select\.jsonl: is cut off; {AGAIN}"):
            read_split(paths, "select", ids)


def test_a_split_whose_last_line_is_not_whole_is_cut_off(paths: SweepPaths) -> None:
    content = write_split(paths, ROWS)
    for length in range(len(content) - 1):
        paths.store.write(paths.split("select"), content[:length])
        with pytest.raises(DamagedFile, match="is cut off"):
            read_split(paths, "select")


@pytest.mark.parametrize("line", [b"\0\0\0", b"[1]", b'{"group": "g0"}'])
def test_a_line_that_is_no_row_is_refused(paths: SweepPaths, line: bytes) -> None:
    lines = write_split(paths, ROWS).splitlines()
    paths.store.write(paths.split("select"), b"\n".join([*lines[:3], line, b""]))
    with pytest.raises(DamagedFile, match=f"is damaged; {AGAIN}"):
        read_split(paths, "select")
    assert read_split(paths, "select", {"p1"}) == [ROWS[1]], "the lines of others are not parsed"


def test_tokens_and_labels(paths: SweepPaths) -> None:
    assert read_encoded(paths, "select").ids == [row["id"] for row in ROWS]
    labels = read_labels(paths, "select")
    ids = ("p0", "p1", "p2", "p3")
    assert labels == {"source": dict.fromkeys(ids, "a"), "category": dict.fromkeys(ids)}
    with pytest.raises(DamagedFile, match=rf"encoded/train\.arrow: is missing; {AGAIN}"):
        read_encoded(paths, "train")
    name = paths.encoded("select")
    paths.store.write(name, paths.store.read(name)[:-9])
    with pytest.raises(DamagedFile, match=rf"encoded/select\.arrow: is damaged; {AGAIN}"):
        read_encoded(paths, "select")


def test_pairs_as_they_were_read(paths: SweepPaths) -> None:
    pairs = toy_pairs(2)
    for split in SPLITS:
        with paths.store.writing(paths.pairs(split)) as file:
            PairTable.write(pairs, file)
    splits = read_pairs(paths)
    assert [list(part) for part in (splits.train, splits.select, splits.final)] == [pairs] * 3
    paths.store.write(paths.pairs("final"), b"")
    with pytest.raises(DamagedFile, match=rf"pairs/final\.arrow: is damaged; {AGAIN}"):
        read_pairs(paths)


def test_reference_log_probs_that_are_gone(paths: SweepPaths) -> None:
    pairs = read_encoded(paths, "select")
    with pytest.raises(UserError, match=r"/key is gone or damaged; `dpo-sweeps resume` computes"):
        read_reference(paths, PREPARED, "select", pairs)
