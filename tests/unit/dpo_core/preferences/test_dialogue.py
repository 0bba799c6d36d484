"""Dialogues as text become turns; other text is no dialogue."""

from __future__ import annotations

import pytest

from dpo_core.preferences.dialogue import parse_dialogue
from dpo_core.preferences.messages import assistant, user


def test_turns_alternate_without_the_white_space_around_them() -> None:
    text = "\n\nHuman: Hi \n\nAssistant:\tHello.\n\nYou?\n\nHuman: Fine\n"
    assert parse_dialogue(text) == (user("Hi"), assistant("Hello.\n\nYou?"), user("Fine"))


def test_a_turn_may_be_empty() -> None:
    assert parse_dialogue("\n\nHuman:\n\nAssistant:") == (user(""), assistant(""))


def test_a_speaker_is_named_at_the_start_of_a_paragraph() -> None:
    assert parse_dialogue("\n\nHuman: I am\nHuman: so") == (user("I am\nHuman: so"),)


@pytest.mark.parametrize("text", ["Hello", "Human: Hi", "\n\nAssistant: Hi", "x\n\nHuman: Hi", ""])
def test_other_text_is_no_dialogue(text: str) -> None:
    assert parse_dialogue(text) is None
