"""Pairs: what their ids and groups depend on, and their rows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpo_core.preferences import PreferencePair, as_chat, pair_from_row, to_row
from dpo_core.preferences.pairs import normalized_question, number_repeats, question_id
from tests.support.preference_rows import ASK, CHAT_ROW, GOOD, SYSTEM, TEXT_ROW

WHERE = "pairs.jsonl:3"

# Text that can be written as UTF-8 and says something.
words = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1
).filter(str.strip)


def read(row: dict[str, Any]) -> PreferencePair:
    return pair_from_row(row, where=WHERE, line=3)


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


@pytest.mark.parametrize(
    ("prompt", "question"),
    [
        ("  How much, then:\n50 % of C++? ", "how much then 50 of c++"),
        ("\u00bfCu\u00e1nto\u00a0AGUA?", "cu\u00e1nto agua"),
        ("?!", "?!"),
        ([SYSTEM, ASK, GOOD, {"role": "user", "content": "And in summer?"}], None),
    ],
)
def test_a_normalized_question_has_no_punctuation(prompt: Any, question: str | None) -> None:
    expected = question or normalized_question(ASK["content"])
    assert normalized_question(prompt) == expected
    assert len(question_id(expected)) == 16


def test_a_group_is_the_first_user_message() -> None:
    longer = [SYSTEM, ASK, GOOD, {"role": "user", "content": "And in summer?"}]
    assert read(CHAT_ROW | {"prompt": longer}).group == read(CHAT_ROW).group
