"""A row with a golden answer becomes a pair that lacks its rejected side."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_core.errors import DataError
from dpo_core.preferences import PreferencePair, as_chat
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.golden import (
    is_unanswered,
    read_golden,
    with_model_answer,
    with_placeholder_answer,
)


def test_a_row_needs_the_models_answer() -> None:
    row = {"prompt": "Question 0?", "golden": "Answer 0.", "category": "dose"}
    pair = read_golden(Record(row, 1, "file:1"))
    assert is_unanswered(pair)
    assert (pair.chosen, pair.category, pair.line) == ("Answer 0.", "dose", 1)
    assert not is_unanswered(with_placeholder_answer(pair))
    assert with_placeholder_answer(pair).rejected != with_placeholder_answer(pair).chosen


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "p"}, "must be an object with `prompt` and `golden`"),
        ({"prompt": "p", "golden": " "}, "the answer is empty"),
        ({"prompt": "", "golden": "a"}, "user message of the prompt is empty"),
        ("text", "must be an object"),
    ],
)
def test_mistakes_name_the_place(row: Any, said: str) -> None:
    with pytest.raises(DataError, match=said) as error:
        read_golden(Record(row, 3, "file:3"))
    assert str(error.value).startswith("file:3")


@pytest.mark.parametrize("prompt", ["Question?", [{"role": "user", "content": "Question?"}]])
def test_the_models_answer_becomes_the_rejected_side(prompt: Any) -> None:
    pair = read_golden(Record({"prompt": prompt, "golden": "Ask first."}, 3, "file:3"))
    complete = with_model_answer(pair, "Sure.")
    assert isinstance(complete, PreferencePair)
    assert not is_unanswered(complete)
    assert complete.is_chat == pair.is_chat
    assert as_chat(complete).rejected == ({"role": "assistant", "content": "Sure."},)
    assert (complete.id, complete.chosen) == (pair.id, pair.chosen)
    assert with_model_answer(pair, " ") == "line 3: the model answers nothing"
    assert with_model_answer(pair, "Ask first.\n") == (
        "line 3: the model gives the golden answer already"
    )
