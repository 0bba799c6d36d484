"""One row, in each of the shapes people keep it in, becomes one named pair or one clear error."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpo_core.errors import DataError
from dpo_core.preferences import PreferencePair, as_chat, pair_from_row, to_row
from dpo_core.preferences.dialogue import parse_dialogue
from dpo_core.preferences.pairs import number_repeats

WHERE = "pairs.jsonl:3"
ASK = {"role": "user", "content": "How much water a day?"}
SYSTEM = {"role": "system", "content": "You are a pharmacist."}
GOOD = {"role": "assistant", "content": "About two litres."}
BAD = {"role": "assistant", "content": "None."}
TEXT_ROW = {"prompt": ASK["content"], "chosen": GOOD["content"], "rejected": BAD["content"]}
CHAT_ROW = {"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]}

# Text that can be written as UTF-8 and says something.
words = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1
).filter(str.strip)


def read(row: dict[str, Any]) -> PreferencePair:
    return pair_from_row(row, where=WHERE, line=3)


def error_of(**row: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(row)
    message = str(caught.value)
    assert message.startswith(WHERE)
    assert "\n" not in message
    return message.removeprefix(WHERE)


# Identity


def test_golden_id_and_group() -> None:
    pair = read(CHAT_ROW)
    assert (pair.id, pair.group) == ("a12a35be65330179", "86d4bd24d7d99a44")


def test_golden_id_of_letters_beyond_ascii() -> None:
    pair = read({"prompt": "Wie groß ist π?", "chosen": "3,14…", "rejected": "🤷"})
    assert (pair.id, pair.group) == ("039b47908f0ccc4f", "1db3623a5f62edab")


def test_a_text_pair_keeps_its_strings_and_its_line() -> None:
    pair = read(TEXT_ROW)
    assert not pair.is_chat
    assert (pair.prompt, pair.chosen, pair.rejected) == tuple(TEXT_ROW.values())
    assert pair.line == 3


@given(prompt=words, chosen=words, rejected=words)
def test_text_and_chat_form_have_the_same_id(prompt: str, chosen: str, rejected: str) -> None:
    if chosen.strip() == rejected.strip():
        return
    text = read({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    chat = read(
        {
            "prompt": [{"role": "user", "content": prompt}],
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
        }
    )
    assert as_chat(text) == chat
    assert as_chat(chat) == chat


@given(prompt=words, chosen=words, rejected=words, category=st.none() | words)
def test_a_row_written_is_the_row_read(
    prompt: str, chosen: str, rejected: str, category: str | None
) -> None:
    if chosen.strip() == rejected.strip():
        return
    text = read({"prompt": prompt, "chosen": chosen, "rejected": rejected, "category": category})
    for pair in (text, as_chat(text)):
        assert pair_from_row(to_row(pair), where=WHERE) == pair


def test_the_row_has_these_keys() -> None:
    assert list(to_row(read(CHAT_ROW))) == [
        "id",
        "group",
        "prompt",
        "chosen",
        "rejected",
        "category",
        "source",
    ]


def test_repeats_are_numbered_in_order() -> None:
    first, other = read(TEXT_ROW), read(TEXT_ROW | {"rejected": "Ten litres."})
    ids = [pair.id for pair in number_repeats([first, other, first, first])]
    assert ids == [first.id, other.id, f"{first.id}-2", f"{first.id}-3"]


def test_chosen_and_rejected_are_not_interchangeable() -> None:
    swapped = read(TEXT_ROW | {"chosen": TEXT_ROW["rejected"], "rejected": TEXT_ROW["chosen"]})
    assert swapped.id != read(TEXT_ROW).id
    assert swapped.group == read(TEXT_ROW).group


@pytest.mark.parametrize(
    "spelling",
    ["how MUCH water a day?", "  How much\n water\ta day? ", "\uff28ow much\u00a0water a day?"],
)
def test_a_group_is_blind_to_case_width_and_white_space(spelling: str) -> None:
    assert read(TEXT_ROW | {"prompt": spelling}).group == read(TEXT_ROW).group


def test_a_group_is_the_first_user_message() -> None:
    longer = [SYSTEM, ASK, GOOD, {"role": "user", "content": "And in summer?"}]
    assert read(CHAT_ROW | {"prompt": longer}).group == read(CHAT_ROW).group


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


@pytest.mark.parametrize("text", ["Hello", "Human: Hi", "\n\nAssistant: Hi", "x\n\nHuman: Hi", ""])
def test_other_text_is_no_dialogue(text: str) -> None:
    assert parse_dialogue(text) is None


def test_a_tool_call_may_be_part_of_an_answer() -> None:
    call, result = {"role": "assistant", "content": "look up"}, {"role": "tool", "content": "2 l"}
    pair = read(CHAT_ROW | {"chosen": [call, result, GOOD]})
    assert pair.chosen == (call, result, GOOD)


def test_null_keys_of_a_message_are_absent_keys() -> None:
    # Arrow gives every message of a column the same keys.
    assert read(CHAT_ROW | {"prompt": [ASK | {"name": None}]}) == read(CHAT_ROW)


@pytest.mark.parametrize(("given_", "kept"), [("dose", "dose"), (None, None), ("", None)])
def test_category_is_kept_and_other_columns_are_ignored(
    given_: str | None, kept: str | None
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
            {"instruction": "a", "output": "b"},
            ": columns instruction, output hold one answer per prompt, which is data for SFT "
            "(supervised fine-tuning); DPO needs a rejected answer too: add `chosen` and "
            "`rejected`, or use SFT",
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
            {**CHAT_ROW, "prompt": [{"from": "human", "value": "Hi"}]},
            ": prompt, message 1: keys from, value; a message has exactly `role` and `content`, "
            "so rename or drop the others",
        ),
        (
            {**CHAT_ROW, "prompt": [{"role": "human", "content": "Hi"}]},
            ": prompt, message 1: role 'human' must be one of system, user, assistant, tool",
        ),
        (
            {**CHAT_ROW, "prompt": [{"role": "user", "content": ["Hi"]}]},
            ": prompt, message 1: content ['Hi'] is of type list, but must be a string; "
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
            {**TEXT_ROW, "category": 3},
            ": category 3 must be a string; write it as text, or rename a column that means "
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


@pytest.mark.parametrize("column", ["completion", "response", "messages", "output", "answer"])
def test_instruction_data_is_sent_to_sft(column: str) -> None:
    assert "use SFT" in error_of(prompt="a", **{column: "b"})


def test_a_long_value_is_cut() -> None:
    message = error_of(**(TEXT_ROW | {"chosen": "x" * 1000, "rejected": "x" * 1000}))
    assert "'" + "x" * 56 + "...;" in message
