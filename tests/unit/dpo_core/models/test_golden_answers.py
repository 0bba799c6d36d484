"""The model's own answers to golden prompts are generated once and survive a kill."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dpo_core.models.golden_answers import (
    PAIRS_PER_PART,
    CompletedPairs,
    generate_missing_answers,
    insert_answers,
    unanswered_parts,
)
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.golden import read_golden, with_placeholder_answer
from dpo_core.preferences.pairs import PreferencePair
from dpo_core.storage.store import Store


def golden(count: int) -> list[PreferencePair]:
    rows = ({"prompt": f"Question {n}?", "golden": f"Answer {n}."} for n in range(count))
    return [read_golden(Record(row, n, f"file:{n}")) for n, row in enumerate(rows, 1)]


class Model:
    """Counts what it is asked; may die at a prompt."""

    def __init__(self, dies_at: str = "") -> None:
        self.asked: list[Any] = []
        self.dies_at = dies_at

    def __call__(self, pairs: Sequence[PreferencePair], seed: int) -> list[str]:
        prompts = [pair.prompt for pair in pairs]
        if self.dies_at in prompts:
            raise KeyboardInterrupt
        self.asked += prompts
        return [f"I say {prompt} {seed}" for prompt in prompts]


def fill(pairs: list[Any], model: Any, store: Store, about: list[str]) -> CompletedPairs:
    generate_missing_answers(unanswered_parts(pairs), model, store, about)
    return insert_answers(pairs, store, about)


def test_answers_are_made_once_and_survive_a_kill(tmp_path: Path) -> None:
    pairs, store = golden(2 * PAIRS_PER_PART + 3), Store.open(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fill(pairs, Model(dies_at=f"Question {PAIRS_PER_PART}?"), store, ["w"])
    second = Model()
    filled = fill(pairs, second, store, ["w"])
    assert len(second.asked) == PAIRS_PER_PART + 3, "the first part was kept"
    answers = [str(p.rejected).rpartition(" ") for p in filled.pairs]
    assert [text for text, _, _ in answers] == [f"I say {p.prompt}" for p in pairs]
    assert len({seed for _, _, seed in answers}) == 3, "a seed for each part"
    moved = fill(pairs[PAIRS_PER_PART:], Model(), Store.open(tmp_path / "other"), ["w"])
    assert moved.pairs == filled.pairs[PAIRS_PER_PART:], (
        "an answer is the same wherever its part stands"
    )
    third = Model()
    assert fill(pairs, third, store, ["w"]) == filled
    assert third.asked == []
    fill(pairs, third, store, ["other weights"])
    assert len(third.asked) == len(pairs)


def test_answers_that_teach_nothing_are_dropped_and_said(tmp_path: Path) -> None:
    pairs = golden(3)
    filled = fill(pairs, lambda *_: ["Answer 0. ", "", "No."], Store.open(tmp_path), [])
    assert [pair.rejected for pair in filled.pairs] == ["No."]
    assert filled.dropped == [
        "line 1: the model gives the golden answer already",
        "line 2: the model answers nothing",
    ]


def test_other_pairs_are_left_alone(tmp_path: Path) -> None:
    whole = with_placeholder_answer(golden(1)[0])
    assert fill([whole], Model(), Store.open(tmp_path), []).pairs == [whole]


def test_a_missing_answer_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        insert_answers(golden(1), Store.open(tmp_path), [])
