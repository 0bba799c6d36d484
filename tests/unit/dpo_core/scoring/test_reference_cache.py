"""The reference cache: what its key depends on, and that only whole entries are used."""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dpo_core.encoding.token_table import EncodedPair
from dpo_core.scoring.reference_cache import (
    COLUMNS,
    Columns,
    load,
    load_or_compute,
    reference_key,
    save,
)
from dpo_core.storage.store import Store

PAIRS = [EncodedPair("a", (1, 2), (3,), (4, 5)), EncodedPair("b", (1,), (6, 7), (8,))]
KEY = "0123abcd"


def columns(value: float = -1.5) -> Columns:
    lengths = {
        "chosen_tokens": np.array([len(p.chosen) for p in PAIRS]),
        "rejected_tokens": np.array([len(p.rejected) for p in PAIRS]),
    }
    return {name: lengths.get(name, np.full(2, value, dtype=np.float32)) for name in COLUMNS}


def never() -> Columns:
    raise AssertionError("the entry is whole and must not be computed again")


def equal(left: Columns, right: Columns) -> bool:
    return all(np.array_equal(left[name], right[name]) for name in COLUMNS)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path)


# --- the key ----------------------------------------------------------------------------------


def key(**changes: Any) -> str:
    arguments = {
        "weights": "w",
        "tokenizer": "t",
        "max_tokens": 512,
        "dtype": "float32",
        "device": "cpu",
        "rows": "",
        **changes,
    }
    return reference_key(arguments.pop("pairs", PAIRS), **arguments)


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": "other"},
        {"tokenizer": "other"},
        {"max_tokens": 513},
        {"dtype": "bfloat16"},
        {"device": "cuda"},
        {"rows": "auto 1024"},
        {"pairs": PAIRS[::-1]},
        {"pairs": PAIRS[:1]},
        {"pairs": [PAIRS[0], EncodedPair("b", (1,), (6, 7), (9,))]},
        {"pairs": [PAIRS[0], EncodedPair("c", (1,), (6, 7), (8,))]},
    ],
)
def test_key_moves_with(changes: dict[str, Any]) -> None:
    assert key(**changes) != key()


def test_key_is_the_same_for_the_same() -> None:
    assert key() == key(pairs=list(PAIRS))
    assert len(key()) == 32
    assert set(key()) <= set("0123456789abcdef")


def test_key_cannot_depend_on_what_a_sweep_searches() -> None:
    """β, learning rate, normalization, rank and seed cannot even be handed in."""
    names = ["pairs", "weights", "tokenizer", "max_tokens", "dtype", "device", "rows"]
    assert list(inspect.signature(reference_key).parameters) == names


# --- finding and rebuilding -------------------------------------------------------------------


def test_the_second_to_ask_finds_what_the_first_computed(store: Store) -> None:
    first, computed = load_or_compute(store, KEY, PAIRS, columns)
    assert computed
    second, computed_again = load_or_compute(store, KEY, PAIRS, never)
    assert not computed_again
    assert equal(first, second)
    assert [second[n].dtype for n in COLUMNS] == [first[n].dtype for n in COLUMNS]


def test_nothing_is_found_in_an_empty_folder(store: Store) -> None:
    assert load(store, KEY, PAIRS) is None


def table_of(values: Columns, ids: list[str]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": ids, **values}), sink)
    return sink.getvalue()


def plant(store: Store, content: bytes) -> None:
    """An entry whose digest is right, whatever it holds."""
    manifest = {"pairs": len(PAIRS), "sha256": hashlib.sha256(content).hexdigest()}
    store.write(f"{KEY}/logps.parquet", content)
    store.write(f"{KEY}/manifest.json", json.dumps(manifest).encode())


def tear_table(store: Store) -> None:
    whole = store.read(f"{KEY}/logps.parquet")
    store.write(f"{KEY}/logps.parquet", whole[: len(whole) // 2])


def flip_a_byte(store: Store) -> None:
    whole = bytearray(store.read(f"{KEY}/logps.parquet"))
    whole[len(whole) // 2] ^= 1
    store.write(f"{KEY}/logps.parquet", bytes(whole))


def tear_manifest(store: Store) -> None:
    store.write(f"{KEY}/manifest.json", store.read(f"{KEY}/manifest.json")[:-5])


def empty_manifest(store: Store) -> None:
    store.write(f"{KEY}/manifest.json", b"")


def lose_manifest(store: Store) -> None:
    store.delete(f"{KEY}/manifest.json")


def lose_table(store: Store) -> None:
    store.delete(f"{KEY}/logps.parquet")


def other_rows(store: Store) -> None:
    plant(store, table_of(columns(), ["b", "a"]))


def no_number(store: Store) -> None:
    plant(store, table_of(columns(np.nan), ["a", "b"]))


def minus_infinity(store: Store) -> None:
    plant(store, table_of(columns(-np.inf), ["a", "b"]))


def missing_column(store: Store) -> None:
    fewer = {n: v for n, v in columns().items() if n != "chosen_head"}
    plant(store, table_of(fewer, ["a", "b"]))


DAMAGE = [
    tear_table,
    flip_a_byte,
    tear_manifest,
    empty_manifest,
    lose_manifest,
    lose_table,
    other_rows,
    no_number,
    minus_infinity,
    missing_column,
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_not_used_but_rebuilt(
    store: Store, damage: Callable[[Store], None]
) -> None:
    save(store, KEY, PAIRS, columns())
    damage(store)
    assert load(store, KEY, PAIRS) is None
    rebuilt, computed = load_or_compute(store, KEY, PAIRS, lambda: columns(-2.5))
    assert computed
    assert equal(rebuilt, columns(-2.5))
    assert equal(load(store, KEY, PAIRS) or {}, columns(-2.5))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_never_kept(store: Store, bad: float) -> None:
    with pytest.raises(ValueError, match="no finite log-probability for every pair"):
        load_or_compute(store, KEY, PAIRS, lambda: columns(bad))
    assert load(store, KEY, PAIRS) is None


def test_a_column_that_is_too_short_is_never_kept(store: Store) -> None:
    short = {**columns(), "rejected": np.array([-1.0])}
    with pytest.raises(ValueError, match="for every pair"):
        save(store, KEY, PAIRS, short)


def test_the_cache_may_live_behind_a_uri() -> None:
    store = Store.open("memory://reference-cache")
    load_or_compute(store, KEY, PAIRS, columns)
    cached, computed = load_or_compute(store, KEY, PAIRS, never)
    assert not computed
    assert equal(cached, columns())


# --- two processes ----------------------------------------------------------------------------


def ask(folder: str, gate: Any, answers: Any) -> None:
    """Run in a process of its own: wait for the others, then ask."""

    def compute() -> Columns:
        with open(os.path.join(folder, "computed"), "a") as log:
            log.write("x")
        time.sleep(0.5)  # long enough that the other one asks meanwhile
        return columns()

    gate.wait(60)
    cached, computed = load_or_compute(
        Store.open(os.path.join(folder, "store")), KEY, PAIRS, compute
    )
    answers.put((computed, equal(cached, columns())))


def test_two_processes_asking_at_once_compute_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    gate, answers = context.Barrier(2), context.Queue()
    asking = [context.Process(target=ask, args=(str(tmp_path), gate, answers)) for _ in range(2)]
    for process in asking:
        process.start()
    got = sorted(answers.get(timeout=60) for _ in asking)
    for process in asking:
        process.join(60)
    assert (tmp_path / "computed").read_text() == "x"
    assert got == [(False, True), (True, True)]
