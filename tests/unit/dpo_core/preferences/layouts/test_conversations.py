"""Prompts that are spread over a row become messages."""

from __future__ import annotations

import json

import pytest

from dpo_core.errors import DataError
from dpo_core.preferences.layouts.conversations import (
    after_history,
    in_turns,
    nemo_turns,
    open_dialogue,
    open_turns,
    shared_text,
)
from dpo_core.preferences.messages import Turns, assistant, user


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ("\n\nHuman: Hi\n\nAssistant:", (user("Hi"),)),
        ("\n\nHuman: Hi\n\nAssistant: ", (user("Hi"),)),
        ("\n\nHuman: Hi", (user("Hi"),)),
        (
            "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: So",
            (user("Hi"), assistant("Yes?"), user("So")),
        ),
        ("\n\nHuman: Hi\n\nAssistant: Yes?", None),
        ("Hi", None),
        (None, None),
    ],
)
def test_a_dialogue_is_open_where_an_answer_begins(text: object, turns: Turns | None) -> None:
    assert open_dialogue(text) == turns


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ("Hi", "Hi"),
        (
            "Hi\n<extra_id_1>Assistant\nYes?\n<extra_id_1>User\nSo",
            (user("Hi"), assistant("Yes?"), user("So")),
        ),
        ("<extra_id_1>User\nHi\n<extra_id_1>Assistant\n", (user("Hi"),)),
    ],
)
def test_marks_of_nemo_begin_later_turns(text: str, turns: Turns | str) -> None:
    assert nemo_turns(text) == turns


def test_questions_and_answers_take_turns() -> None:
    turns = (user("a"), assistant("b"), user("c"), assistant("d"))
    assert in_turns(["a", "c"], json.dumps(["b", "d"]), "x") == turns
    for answers in (["b"], "b", None, ["b", None]):
        with pytest.raises(DataError, match="must be a list of strings, one for each of"):
            in_turns(["a", "c"], answers, "x")


@pytest.mark.parametrize(
    ("questions", "answers", "turns"),
    [
        ("a", "", (user("a"),)),
        (["a"], [], (user("a"),)),
        (["a"], None, (user("a"),)),
        (json.dumps(["a", "c"]), ["b"], (user("a"), assistant("b"), user("c"))),
    ],
)
def test_questions_and_the_answers_between_them_end_with_a_question(
    questions: object, answers: object, turns: Turns
) -> None:
    assert open_turns(questions, answers, "x") == turns


@pytest.mark.parametrize(
    ("questions", "answers"), [(["a"], ["b"]), (["a", "c"], []), ([], []), (3, 4)]
)
def test_other_numbers_of_answers_are_refused(questions: object, answers: object) -> None:
    with pytest.raises(DataError, match=r"x: .* must have one answer less than"):
        open_turns(questions, answers, "x")


@pytest.mark.parametrize("history", [[["a", "b"]], '[["a", "b"]]', [user("a"), assistant("b")]])
def test_earlier_turns_come_before_the_prompt(history: object) -> None:
    assert after_history(history, "c", "x") == (user("a"), assistant("b"), user("c"))


@pytest.mark.parametrize("history", ["a", [["a"]], [3], {"a": "b"}])
def test_a_history_of_other_things_is_refused(history: object) -> None:
    with pytest.raises(DataError, match="x: history"):
        after_history(history, "c", "x")


@pytest.mark.parametrize(
    ("left", "right", "shared"),
    [
        ("Why? Yes", "Why? Yesterday", "Why?"),
        ("Why? Yes it is", "Why? Yes it was", "Why? Yes it"),
        ("Why?\n\nYes", "Why?\n\nNo", "Why?"),
        ("Yes", "Yesterday", ""),
        ("a", "b", ""),
    ],
)
def test_a_shared_beginning_ends_with_a_word(left: str, right: str, shared: str) -> None:
    assert shared_text(left, right) == shared
