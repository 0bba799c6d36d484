"""Messages, tools and template settings in all the spellings that data sets have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dpo_core.errors import DataError
from dpo_core.preferences.messages import assistant, system, user
from dpo_core.preferences.read_messages import (
    read_field,
    read_system,
    read_template_kwargs,
    read_tools,
)

CALL = {"type": "function", "function": {"name": "leaflet", "arguments": {"of": "x"}}}
TOOL = {"type": "function", "function": {"name": "leaflet", "parameters": {"type": "object"}}}


def test_a_field_is_a_string_or_a_list_of_messages() -> None:
    assert read_field("Hi", "here") == "Hi"
    assert read_field([user("Hi"), assistant("Hello")], "here") == (user("Hi"), assistant("Hello"))


def test_null_keys_of_a_message_are_absent_keys() -> None:
    # Arrow gives every message of a column the same keys.
    assert read_field([user("Hi") | {"name": None}], "here") == (user("Hi"),)


@pytest.mark.parametrize(
    ("value", "turns"),
    [
        (user("Hi"), (user("Hi"),)),
        ([{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes"}],
         (user("Hi"), assistant("Yes"))),
        ([{"role": "developer", "content": "Be brief."}, user("Hi")],
         (system("Be brief."), user("Hi"))),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
         (user("ab"),)),
        ([{"role": "user", "content": [{"type": "text", "text": "a", "image_url": None}]}],
         (user("a"),)),
        (json.dumps([user("Hi")]), (user("Hi"),)),
        ([assistant("Hi") | {"thinking": "So."}],
         (assistant("Hi") | {"reasoning_content": "So."},)),
        ([{"role": "assistant", "content": None, "tool_calls": [CALL]}],
         ({"role": "assistant", "tool_calls": [CALL]},)),
        ([{"role": "assistant", "content": "", "tool_calls": json.dumps([CALL])}],
         (assistant("") | {"tool_calls": [CALL]},)),
        ([{"role": "tool", "name": "leaflet", "tool_call_id": "7", "content": "Keep cool."}],
         ({"role": "tool", "name": "leaflet", "tool_call_id": "7", "content": "Keep cool."},)),
        ([{"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
          {"role": "model", "parts": [{"text": "Yes", "inlineData": None}]}],
         (user("ab"), assistant("Yes"))),
        ({"role": "model", "parts": [{"text": "Yes"}]}, (assistant("Yes"),)),
        (json.dumps([{"role": "model", "parts": [{"text": "Yes"}]}]), (assistant("Yes"),)),
        ([{"text": "a"}, {"text": "b"}], "ab"),
        ([user("Hi") | {"timestamp": 3, "language": "en", "images": []}], (user("Hi"),)),
    ],
)  # fmt: skip
def test_messages_are_read_in_all_spellings(value: Any, turns: Any) -> None:
    assert read_field(value, "here") == turns


@pytest.mark.parametrize("text", ["[{", '[{"a": 1}]', "[]", '[{"role": "user"}, 3]', "[1, 2]"])
def test_a_text_that_is_no_list_of_messages_stays_a_text(text: str) -> None:
    assert read_field(text, "here") == text


def test_arguments_written_as_json_become_objects_as_templates_expect_them() -> None:
    written = {"function": {"name": "leaflet", "arguments": '{"of": "x"}'}}
    [turn] = read_field([{"role": "assistant", "tool_calls": [written]}], "here")
    assert turn == {
        "role": "assistant",
        "tool_calls": [{"function": {"name": "leaflet", "arguments": {"of": "x"}}}],
    }


def test_null_arguments_that_arrow_added_are_dropped() -> None:
    widened = {"function": {"name": "leaflet", "arguments": {"of": "x", "city": None}}}
    [turn] = read_field([{"role": "assistant", "tool_calls": [widened]}], "here")
    assert turn["tool_calls"][0]["function"]["arguments"] == {"of": "x"}  # type: ignore[index]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "here: None is null, but must be a string"),
        ({}, "here: {} is of type dict, but must be a string"),
        ([], "here: the list of messages is empty"),
        (["Hi"], "here, message 1: 'Hi' must be an object"),
        ([{"role": "user"}], "here, message 1: keys role; a message has"),
        ([user("Hi") | {"mood": "sad"}], "here, message 1: key 'mood' with 'sad' cannot be trained"),
        ([user("Hi") | {"images": ["a"]}], "here, message 1: key 'images' with ['a'] cannot be"),
        ([user("Hi") | {"function_call": {}}], "here, message 1: key 'function_call' with"),
        ([{}], "here, message 1: keys none;"),
        ([user("Hi"), {"role": "boss", "content": "Hi"}], "here, message 2: role 'boss' must be"),
        ([{"role": ["user"], "content": "Hi"}], "here, message 1: role ['user'] must be"),
        ([{"role": "user", "content": None}], "here, message 1: keys role, content; a message has"),
        ([{"role": "user", "content": 3}], "here, message 1: content 3 is of type int"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}],
            "here, message 1: content has a part of type 'image_url'; only text",
        ),
        (
            [{"role": "user", "parts": [{"text": "Who?"}, {"inlineData": {"mimeType": "image/png"}}]}],
            "here, message 1: content has a part of type 'inlineData'; only text",
        ),
        (
            [{"role": "user", "content": [{"text": None, "image": {"format": "png"}}]}],
            "here, message 1: content has a part of type 'image'; only text",
        ),
        (
            [{"text": "Yes"}, {"image": {"format": "png"}}],
            "here: content has a part of type 'image'; only text",
        ),
        (
            [{"role": "model", "parts": [{"text": "Hm.", "thought": True}, {"text": "Yes"}]}],
            "here, message 1: content has a part of type 'thought'; only text",
        ),
        ([{"role": "assistant", "tool_calls": "leaflet"}], "here, message 1: tool_calls 'leaflet'"),
        ("a\0b", "here: 'a\\x00b' holds a null character"),
    ],
)  # fmt: skip
def test_a_field_that_is_neither_is_refused(value: Any, message: str) -> None:
    with pytest.raises(DataError) as error:
        read_field(value, "here")
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("value", [[TOOL], (TOOL,), json.dumps([TOOL]), [json.dumps(TOOL)]])
def test_tools_are_objects_also_when_written_as_json(value: Any) -> None:
    assert read_tools(value, "here") == (TOOL,)


@pytest.mark.parametrize("value", [None, [], "", "[]"])
def test_no_tools(value: Any) -> None:
    assert read_tools(value, "here") == ()


@pytest.mark.parametrize("value", [3, "leaflet", {"name": "leaflet"}, ["leaflet"], [None], "[{"])
def test_other_tools_are_refused(value: Any) -> None:
    with pytest.raises(DataError, match=r"^here: .* must be a list of tools"):
        read_tools(value, "here")


def test_template_settings() -> None:
    assert read_template_kwargs({"enable_thinking": False, "effort": None}, "here") == {
        "enable_thinking": False
    }
    assert read_template_kwargs('{"enable_thinking": false}', "here") == {"enable_thinking": False}
    assert read_template_kwargs(None, "here") == read_template_kwargs({}, "here") == {}
    with pytest.raises(DataError, match=r"^here: .* must be an object"):
        read_template_kwargs([1], "here")


def test_a_turn_that_calls_a_tool_becomes_a_call() -> None:
    call = {"from": "function_call", "value": '{"name": "look_up", "arguments": {"what": "dose"}}'}
    [message] = read_field([call], "x")
    function = {"name": "look_up", "arguments": {"what": "dose"}}
    assert message == {
        "role": "assistant",
        "tool_calls": [{"type": "function", "function": function}],
    }


def test_a_thing_that_is_said_twice_is_refused() -> None:
    with pytest.raises(DataError, match="keys role, content, text give one thing twice"):
        read_field([{"role": "user", "content": "a", "text": "b"}], "x")


@pytest.mark.parametrize(
    "value",
    [
        "Be brief.",
        [{"text": "Be "}, {"text": "brief."}],
        {"role": "system", "parts": [{"text": "Be brief."}]},
        '[{"text": "Be brief."}]',
    ],
)
def test_a_system_text_is_a_string_or_parts(value: Any) -> None:
    assert read_system(value, "here: system") == "Be brief."


def test_another_system_text_is_refused() -> None:
    for value in (3, ["Be brief."], {"text": 3}):
        with pytest.raises(DataError, match=r"here: system .* must be a string"):
            read_system(value, "here: system")
    assert read_system('{"a": 1}', "here") == '{"a": 1}'
