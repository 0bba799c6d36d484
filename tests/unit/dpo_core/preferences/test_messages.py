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
    user,
)

SYSTEM = {"role": "system", "content": "You are a pharmacist."}
TOOL = {"role": "tool", "content": "2 l"}
CALL = {"role": "assistant", "tool_calls": [{"function": {"name": "look_up"}}]}


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


@pytest.mark.parametrize(
    "answer", [(assistant("a"),), (assistant("a"), TOOL, assistant("b")), (CALL,)]
)
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
