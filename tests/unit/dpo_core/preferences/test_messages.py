"""Messages: what a prompt or answer may be, and what an error shows of a value."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpo_core.errors import DataError
from dpo_core.preferences.messages import (
    assistant,
    check_answer,
    check_prompt,
    common_prefix,
    preview,
    read_field,
    user,
)

SYSTEM = {"role": "system", "content": "You are a pharmacist."}
TOOL = {"role": "tool", "content": "2 l"}


def test_a_field_is_a_string_or_a_list_of_messages() -> None:
    assert read_field("Hi", "here") == "Hi"
    assert read_field([user("Hi"), assistant("Hello")], "here") == (user("Hi"), assistant("Hello"))


def test_null_keys_of_a_message_are_absent_keys() -> None:
    # Arrow gives every message of a column the same keys.
    assert read_field([user("Hi") | {"name": None}], "here") == (user("Hi"),)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "here: None is null, but must be a string"),
        ({}, "here: {} is of type dict, but must be a string"),
        ([], "here: the list of messages is empty"),
        (["Hi"], "here, message 1: 'Hi' must be an object"),
        ([{"role": "user"}], "here, message 1: keys role; a message has exactly"),
        ([user("Hi") | {"name": "Ann"}], "here, message 1: keys role, content, name;"),
        ([{}], "here, message 1: keys none;"),
        ([user("Hi"), {"role": "human", "content": "Hi"}], "here, message 2: role 'human' must be"),
        ([{"role": "user", "content": None}], "here, message 1: keys role;"),
        ([{"role": "user", "content": 3}], "here, message 1: content 3 is of type int"),
        ("a\0b", "here: 'a\\x00b' holds a null character"),
    ],
)
def test_a_field_that_is_neither_is_refused(value: Any, message: str) -> None:
    with pytest.raises(DataError) as error:
        read_field(value, "here")
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("prompt", [(user("a"),), (SYSTEM, user("a"), TOOL), (user("a"), TOOL)])
def test_a_prompt_ends_with_a_question_or_what_a_tool_says(prompt: Any) -> None:
    check_prompt(prompt, "here")


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ((), "chosen and rejected begin with different messages"),
        ((user("a"), assistant("b")), "the prompt ends with role 'assistant'"),
        ((SYSTEM,), "the prompt ends with role 'system'"),
        ((TOOL,), "the prompt has no user message"),
        ((user(" "), assistant("b"), user("c")), "a user message of the prompt is empty"),
    ],
)
def test_other_prompts_are_refused(prompt: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"^here: {message}"):
        check_prompt(prompt, "here")


@pytest.mark.parametrize("answer", [(assistant("a"),), (assistant("a"), TOOL, assistant("b"))])
def test_an_answer_is_what_the_assistant_says(answer: Any) -> None:
    check_answer(answer, "here")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((), "the answer has no messages of its own"),
        ((assistant("a"), TOOL), "the answer ends with role 'tool'"),
        ((user("a"), assistant("b")), "the answer contains a user message"),
        ((SYSTEM, assistant("b")), "the answer contains a system message"),
        ((assistant("a"), assistant(" \n")), "the answer is empty"),
    ],
)
def test_other_answers_are_refused(answer: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"^here: {message}"):
        check_answer(answer, "here")


def test_the_common_prefix_of_two_dialogues() -> None:
    left, right = (user("a"), assistant("b")), (user("a"), assistant("c"), user("d"))
    assert common_prefix(left, right) == common_prefix(right, left) == (user("a"),)
    assert common_prefix(left, left) == left
    assert common_prefix(left, ()) == ()


def test_a_long_value_is_cut() -> None:
    assert preview("x" * 58) == "'" + "x" * 58 + "'"
    assert preview("x" * 59) == "'" + "x" * 56 + "..."
    assert preview([1, 2, 3], limit=6) == "[1,..."


@given(st.text())
def test_a_preview_is_one_line_that_can_be_printed(text: str) -> None:
    shown = preview(text + "\ud800")
    assert len(shown) <= 60
    assert len(shown.splitlines()) == 1
    shown.encode()
