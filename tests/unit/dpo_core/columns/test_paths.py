"""Paths lead to the values of a row, and to nothing where a step leads nowhere."""

from __future__ import annotations

import json

import pytest

from dpo_core.columns.paths import ColumnPath

ROW = {
    "question": "Why?",
    "input": {"messages": ["a", "b", "c"]},
    "completions": [{"response": "x", "scores": {"all": 2}}, {"response": "y"}],
    "text": json.dumps({"inner": ["z"]}),
    "a.b": "its own name",
    "chosen-rating": 4,
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("question", "Why?"),
        ("input.messages", ["a", "b", "c"]),
        ("input.messages[0]", "a"),
        ("input.messages[-1]", "c"),
        ("input.messages[:-1]", ["a", "b"]),
        ("input.messages[1:]", ["b", "c"]),
        ("input.messages[9]", None),
        ("completions[].response", ["x", "y"]),
        ("completions[].scores.all", [2, None]),
        ("completions.response", ["x", "y"]),
        ("completions[1].response", "y"),
        ("text.inner[0]", "z"),
        ("a.b", "its own name"),
        ("chosen-rating", 4),
        ("absent", None),
        ("question.more", None),
        ("question[0]", None),
    ],
)
def test_a_path_leads_to_its_value(path: str, value: object) -> None:
    assert ColumnPath.parse(path).value_in(ROW) == value


@pytest.mark.parametrize("text", ["", "[0]", ".a", "a..b", "a[", "a[x]", "a.[0]", "a."])
def test_a_text_that_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no path to a column; write it like question"):
        ColumnPath.parse(text)
