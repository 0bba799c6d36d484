"""Pairs on disk: the same pairs as in a list, with the groups and positions of splits."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import numpy as np

from dpo_core.preferences import PairTable, PreferencePair
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.golden import read_golden
from dpo_core.storage.arrow_files import BATCH_ROWS
from tests.support.toys import text_pair, toy_pairs

UNANSWERED = read_golden(Record({"prompt": "Which dose?", "golden": "Ask."}, 4, "here"))

WITH_TOOLS = replace(
    toy_pairs(1)[0], tools=({"name": "leaflet"},), template_kwargs={"brief": True}, weight=2.0
)


def test_a_table_is_the_sequence_of_its_pairs(tmp_path: Path) -> None:
    pairs = [*toy_pairs(8), text_pair("a", "b", "c"), WITH_TOOLS, UNANSWERED]
    pairs *= BATCH_ROWS // 11 + 2
    table = PairTable.write(iter(pairs), tmp_path / "pairs.arrow")
    assert list(table) == pairs
    assert [p.line for p in table[:20]] == [p.line for p in pairs[:20]]
    assert table[BATCH_ROWS] == pairs[BATCH_ROWS]
    assert table[-1] == UNANSWERED
    assert table.unanswered_count == BATCH_ROWS // 11 + 2


def test_a_part_is_a_view_in_its_own_order() -> None:
    pairs = toy_pairs(9)
    table = PairTable.of(pairs)
    part = table.take(np.array([7, 2, 5])).take(np.array([2, 0]))
    assert list(part) == [pairs[5], pairs[7]]
    assert part.table is table.table
    assert part.column("id") == [pairs[5].id, pairs[7].id]


def test_the_longest_pairs_of_a_part() -> None:
    pairs = [text_pair("p" * a, "c" * b, "r" * c) for a, b, c in ((1, 9, 1), (5, 2, 8), (4, 4, 4))]
    part = PairTable.of(pairs).take(np.array([2, 0, 1]))
    assert list(part.longest(2)) == [pairs[1], pairs[0]]
    assert list(part.longest(9)) == [pairs[1], pairs[0], pairs[2]]


def test_the_file_lives_as_long_as_a_part_does() -> None:
    table = PairTable.of(iter(toy_pairs(3)))
    folder = Path(table.keep_alive.name)
    part = table.take(np.array([1]))
    del table
    gc.collect()
    assert folder.exists()
    assert list(part) == [toy_pairs(3)[1]]
    del part
    gc.collect()
    assert not folder.exists()


def test_groups_come_in_the_order_of_their_first_pair() -> None:
    questions = ["b", "a", "b", "c", "a"]
    pairs: list[PreferencePair] = [text_pair(q, f"yes {i}", "no") for i, q in enumerate(questions)]
    groups = PairTable.of(pairs).groups
    assert groups.first.tolist() == [0, 1, 3]
    assert groups.of_pair.tolist() == [0, 1, 0, 2, 1]
    assert groups.names == [pairs[0].group, pairs[1].group, pairs[3].group]


def test_pairs_get_other_groups(tmp_path: Path) -> None:
    pairs = toy_pairs(5)
    table = PairTable.of(pairs).take(np.array([4, 0, 1]))
    renamed = table.with_groups({pairs[0].group: "one", pairs[4].group: "one"})
    assert [pair.group for pair in renamed] == ["one", "one", pairs[1].group]
    assert renamed.groups.names == ["one", pairs[1].group]
    assert [pair.id for pair in renamed] == [pair.id for pair in table]
    assert list(PairTable.write(renamed, tmp_path / "pairs.arrow")) == list(renamed)
    assert [pair.group for pair in table] == [pairs[i].group for i in (4, 0, 1)]


def test_prompts_alone() -> None:
    table = PairTable.of(toy_pairs(9)).take(np.array([7, 2, 2]))
    assert list(table.prompts()) == [(pair.group, pair.prompt) for pair in table]
