"""Rows, in each of the shapes people keep them in, become one pair or one clear error."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_core.errors import DataError
from dpo_core.preferences import PreferencePair, pair_from_row
from tests.support.preference_rows import ASK, BAD, CHAT_ROW, GOOD, SYSTEM, TEXT_ROW

WHERE = "pairs.jsonl:3"


def read(row: dict[str, Any]) -> PreferencePair:
    return pair_from_row(row, where=WHERE, line=3)


def error_of(**row: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(row)
    message = str(caught.value)
    assert message.startswith(WHERE)
    assert "\n" not in message
    return message.removeprefix(WHERE)


# Shapes


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        pytest.param(CHAT_ROW, [ASK], id="three lists"),
        pytest.param({**TEXT_ROW, "prompt": [ASK]}, [ASK], id="list and strings"),
        pytest.param({**TEXT_ROW, "chosen": [GOOD]}, [ASK], id="one list"),
        pytest.param(
            {"prompt": [ASK], "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
            [ASK],
            id="prompt repeated",
        ),
        pytest.param(
            {"prompt": ASK["content"], "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
            [ASK],
            id="string prompt repeated, as in UltraFeedback",
        ),
        pytest.param(
            {
                "prompt": ASK["content"],
                "chosen": [SYSTEM, ASK, GOOD],
                "rejected": [SYSTEM, ASK, BAD],
            },
            [SYSTEM, ASK],
            id="string prompt repeated after a system message",
        ),
        pytest.param(
            {"chosen": [SYSTEM, ASK, GOOD], "rejected": [SYSTEM, ASK, BAD]},
            [SYSTEM, ASK],
            id="no prompt",
        ),
        pytest.param(
            {
                "chosen": "\n\nHuman: How much water a day?\n\nAssistant: About two litres.",
                "rejected": "\n\nHuman: How much water a day?\n\nAssistant: None.",
            },
            [ASK],
            id="dialogue text, as in hh-rlhf",
        ),
    ],
)
def test_shapes_of_a_chat_pair(row: dict[str, Any], prompt: list[dict[str, str]]) -> None:
    pair = read(row)
    assert pair.is_chat
    assert (pair.prompt, pair.chosen, pair.rejected) == (tuple(prompt), (GOOD,), (BAD,))


def test_a_dialogue_shares_all_turns_but_the_last() -> None:
    start = "\n\nHuman: Hi\n\nAssistant: Hello.\nYou?\n\nHuman: Fine"
    pair = read(
        {"chosen": f"{start}\n\nAssistant: Good.", "rejected": f"{start}\n\nAssistant: So?"}
    )
    assert [message["content"] for message in pair.prompt] == ["Hi", "Hello.\nYou?", "Fine"]
    assert pair.chosen == ({"role": "assistant", "content": "Good."},)


def test_a_tool_call_may_be_part_of_an_answer() -> None:
    call, result = {"role": "assistant", "content": "look up"}, {"role": "tool", "content": "2 l"}
    pair = read(CHAT_ROW | {"chosen": [call, result, GOOD]})
    assert pair.chosen == (call, result, GOOD)


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        ("dose", "dose"),
        (None, None),
        ("", None),
        (3, "3"),
        (3.0, "3"),
        (0.5, "0.5"),
        (float("nan"), None),
    ],
)
def test_category_is_kept_and_other_columns_are_ignored(
    given_: str | float | None, kept: str | None
) -> None:
    pair = read({**TEXT_ROW, "category": given_, "score": float("nan")})
    assert pair.category == kept
    assert pair == read({**TEXT_ROW, "category": kept})


# Errors


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": "a", "chosen": "b"},
            ": missing column `rejected` (found: prompt, chosen); a preference pair has "
            "`prompt`, `chosen` and `rejected`, so add or rename columns",
        ),
        (
            {},
            ": missing columns `chosen` and `rejected` (found: none); a preference pair has "
            "`prompt`, `chosen` and `rejected`, so add or rename columns",
        ),
        (
            {"chosen": "Yes", "rejected": "No"},
            ": missing column `prompt` (found: chosen, rejected), and chosen 'Yes' is not a dialogue "
            r"of '\n\nHuman:' and '\n\nAssistant:' turns; add a `prompt` column",
        ),
        (
            {**TEXT_ROW, "chosen": 7},
            ": chosen: 7 is of type int, but must be a string or a list of messages like "
            '{"role": "user", "content": "Hello"}',
        ),
        (
            {**TEXT_ROW, "prompt": None},
            ": prompt: None is null, but must be a string or a list of messages like "
            '{"role": "user", "content": "Hello"}',
        ),
        (
            {**TEXT_ROW, "chosen": " \n"},
            ": chosen: the answer is empty; fill it or drop the row",
        ),
        (
            {**TEXT_ROW, "prompt": " "},
            ": prompt: a user message of the prompt is empty; fill it or drop the row",
        ),
        (
            {**TEXT_ROW, "rejected": "About two litres. "},
            ": chosen and rejected are the same answer 'About two litres.'; "
            "they express no preference, so drop the row",
        ),
        (
            {"chosen": [ASK, GOOD], "rejected": [ASK, GOOD]},
            ": chosen and rejected are the same answer 'About two litres.'; "
            "they express no preference, so drop the row",
        ),
        (
            {**CHAT_ROW, "prompt": []},
            ": prompt: the list of messages is empty; give at least one message",
        ),
        (
            {**CHAT_ROW, "prompt": [ASK, "and?"]},
            ": prompt, message 2: 'and?' must be an object with `role` and `content`",
        ),
        (
            {**CHAT_ROW, "prompt": [{"speaker": "human", "text": "Hi"}]},
            ": prompt, message 1: keys speaker, text; a message has `role` and `content`, so rename "
            "or add them",
        ),
        (
            {**CHAT_ROW, "prompt": [{"role": "boss", "content": "Hi"}]},
            ": prompt, message 1: role 'boss' must be one of system, user, assistant, tool",
        ),
        (
            {**CHAT_ROW, "prompt": [{"role": "user", "content": {"text": "Hi"}}]},
            ": prompt, message 1: content {'text': 'Hi'} is of type dict, but must be a string; "
            "only text can be trained on",
        ),
        (
            {**CHAT_ROW, "prompt": [ASK, GOOD]},
            ": prompt: the prompt ends with role 'assistant', but must end with a user or tool "
            "message; move what follows into the answers",
        ),
        (
            {**CHAT_ROW, "prompt": [{"role": "tool", "content": "2 l"}]},
            ": prompt: the prompt has no user message; pairs are split by the first one, so add it",
        ),
        (
            {"chosen": [GOOD], "rejected": [BAD]},
            ": prompt: chosen and rejected begin with different messages, so they share no "
            "prompt; add a `prompt` column",
        ),
        (
            {**CHAT_ROW, "chosen": [GOOD, {"role": "tool", "content": "2 l"}]},
            ": chosen: the answer ends with role 'tool', but must end with an assistant message",
        ),
        (
            {"chosen": [ASK, GOOD], "rejected": [ASK, GOOD, ASK, BAD]},
            ": chosen: the answer has no messages of its own, but must end with an assistant "
            "message",
        ),
        (
            {**CHAT_ROW, "chosen": [ASK, GOOD]},
            ": chosen: the answer contains a user message; DPO compares two answers to one "
            "prompt, so everything before the answer must be the same in chosen, rejected and "
            "prompt",
        ),
        (
            {**TEXT_ROW, "category": [3]},
            ": category [3] must be a text or a number; write it so, or rename a column that means "
            "something else",
        ),
        (
            {**TEXT_ROW, "chosen": "x\ud800"},
            r": chosen: character 2 of 'x\ud800' is half a surrogate pair, which is not text; "
            "replace or drop it",
        ),
    ],
)
def test_each_error_says_value_rule_and_way_out(row: dict[str, Any], message: str) -> None:
    assert error_of(**row) == message


# Columns beside prompt and answers

TOOL = {"type": "function", "function": {"name": "leaflet", "parameters": {}}}


@pytest.mark.parametrize("row", [TEXT_ROW, CHAT_ROW, {**TEXT_ROW, "prompt": [ASK]}])
def test_a_system_column_comes_first_in_the_prompt(row: dict[str, Any]) -> None:
    pair = read({**row, "system": SYSTEM["content"]})
    assert pair.prompt == (SYSTEM, ASK)
    assert pair.chosen == (GOOD,)
    assert pair.id == read({**CHAT_ROW, "prompt": [SYSTEM, ASK]}).id


@pytest.mark.parametrize("value", [None, ""])
def test_an_empty_system_column_changes_nothing(value: Any) -> None:
    assert read({**TEXT_ROW, "system": value}) == read(TEXT_ROW)


def test_a_system_column_may_repeat_the_system_message_but_not_contradict_it() -> None:
    row = {**CHAT_ROW, "prompt": [SYSTEM, ASK]}
    assert read({**row, "system": SYSTEM["content"]}) == read(row)
    assert error_of(**row, system="Be rude.").startswith(": system 'Be rude.' differs from the")
    assert error_of(**row, system=3) == ": system 3 must be a string"


def test_tools_and_template_settings_belong_to_the_pair_and_its_id() -> None:
    pair = read({**CHAT_ROW, "tools": [TOOL], "chat_template_kwargs": {"enable_thinking": False}})
    assert pair.tools == (TOOL,)
    assert pair.template_kwargs == {"enable_thinking": False}
    plain = read({**CHAT_ROW, "tools": [], "chat_template_kwargs": None})
    assert plain == read(CHAT_ROW)
    assert len({pair.id, plain.id, read({**CHAT_ROW, "tools": [TOOL]}).id}) == 3


def test_weight_and_margin_are_finite_numbers() -> None:
    pair = read({**CHAT_ROW, "weight": 2, "margin": -0.5})
    assert (pair.weight, pair.margin) == (2.0, -0.5)
    assert pair.id == read(CHAT_ROW).id
    assert error_of(**CHAT_ROW, weight=0) == (
        ": weight 0 must be above 0; drop a pair that must not count"
    )
    assert error_of(**CHAT_ROW, margin="2") == ": margin '2' must be a finite number"
    assert error_of(**CHAT_ROW, margin=float("nan")) == ": margin nan must be a finite number"
