"""Texts that are already formatted are reported where most rows of a source have them, not a few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from dpo_core.audit.findings import SEVERE, WARNING, Finding
from dpo_core.audit.formatted_text import TextUse, formatted_texts
from dpo_core.preferences.messages import assistant, user
from dpo_core.preferences.pairs import PreferencePair, make_pair
from dpo_core.preferences.table import PairTable

CHATML = "<|im_start|>user\nMay I take dose {}?<|im_end|>\n<|im_start|>assistant\n"
PLAIN = "May I take dose {}?"


def pairs(
    prompt: str = PLAIN, chosen: str = "No.", count: int = 40, source: str = "a"
) -> list[PreferencePair]:
    return [
        replace(make_pair(prompt.format(n), chosen, "Yes.", line=n + 1), source=source)
        for n in range(count)
    ]


def report(data: Sequence[PreferencePair], **use: bool | str) -> dict[str, Finding]:
    half = len(data) // 2
    tables = PairTable.of(data[:half]), PairTable.of(data[half:])
    return {f.code: f for f in formatted_texts(tables, TextUse(**use))}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prompt", "name", "format"),
    [
        (CHATML, "ChatML", "rendered"),
        ("<s>[INST] May I take dose {}? [/INST]", "Llama 2 or Mistral", "rendered"),
        ("\n\nHuman: May I take dose {}?\n\nAssistant:", "Human/Assistant", "dialogue"),
        ("A chat. USER: May I take dose {}? ASSISTANT:", "USER/ASSISTANT", "dialogue"),
    ],
)
def test_formatted_text_are_severe_with_the_setting_that_reads_them(
    prompt: str, name: str, format: str
) -> None:
    [finding] = report(pairs(prompt)).values()
    assert finding.code == "formatted_text"
    assert finding.severity == SEVERE
    assert finding.number == 1.0
    assert f"({name})" in finding.message
    assert finding.remedy == f"data.format: {format} reads it as messages"
    assert finding.places == ("a:1", "a:2", "a:3", "a:4", "a:5")


def test_messages_that_hold_formatted_text_are_found() -> None:
    data = [
        make_pair((user(CHATML.format(n)),), (assistant("No.<|im_end|>"),), (assistant("Yes."),))
        for n in range(40)
    ]
    assert {f.severity for f in report(data).values()} == {SEVERE}
    assert set(report(data)) == {"formatted_text", "ended_answers"}


def test_answers_that_are_whole_conversations_are_severe() -> None:
    data = pairs(chosen="<|im_start|>user\nMay I?<|im_end|>\n<|im_start|>assistant\nNo.")
    [finding] = report(data).values()
    assert (finding.code, finding.severity) == ("formatted_text", SEVERE)
    data = pairs(chosen="<|start_header_id|>assistant<|end_header_id|>\n\nNo.")
    assert set(report(data)) == {"formatted_text"}


def test_answers_that_end_a_turn_are_severe() -> None:
    [finding] = report(pairs(chosen="No.<|im_end|>\n")).values()
    assert (finding.code, finding.severity) == ("ended_answers", SEVERE)
    assert "ends in <|im_end|>;" in finding.message
    assert finding.remedy == "data.format: rendered removes it"


def test_a_prompt_that_begins_with_the_token_of_a_beginning_is_severe() -> None:
    [finding] = report(pairs("<s> May I take dose {}?")).values()
    assert (finding.code, finding.severity) == ("begun_prompts", SEVERE)
    assert "begins with <s>," in finding.message


def test_rows_that_mention_markup_are_no_finding() -> None:
    mention = "What is <|im_start|>user {} for, and [INST], </s> and Human: or Assistant: ?"
    assert report(pairs(mention, chosen="<|im_end|> ends a turn.")) == {}
    assert report([*pairs(count=78), *pairs(CHATML, "No.<|im_end|>", count=2)]) == {}
    assert report(pairs()) == {}


def test_some_formatted_rows_are_a_warning() -> None:
    [finding] = report([*pairs(count=30), *pairs(CHATML, count=10)]).values()
    assert (finding.severity, finding.number) == (WARNING, 0.25)


def test_a_small_source_of_formatted_rows_is_found_among_many_others() -> None:
    data = [*pairs(count=400), *pairs(CHATML, count=10, source="b")]
    [finding] = report(data).values()
    assert (finding.severity, finding.number) == (SEVERE, 1.0)
    assert finding.message.startswith("of pairs of b have text")
    assert finding.places[0] == "b:1"


def test_a_text_of_a_base_model_may_be_a_dialogue() -> None:
    dialogue = "\n\nHuman: May I take dose {}?\n\nAssistant:"
    assert report(pairs(dialogue), is_chat=False) == {}


def test_markup_in_plain_texts_is_found_unless_it_becomes_tokens() -> None:
    data = pairs(CHATML, "No.<|im_end|>")
    found = report(data, is_chat=False, eos_token="<|im_end|>")
    assert set(found) == {"formatted_text"}  # encoding removes the tokenizer's own end
    assert "special_tokens: keep" in found["formatted_text"].remedy
    assert set(report(data, is_chat=False)) == {"formatted_text", "ended_answers"}
    assert report(data, is_chat=False, keeps_special_tokens=True) == {}


def test_a_second_beginning_is_found_in_plain_texts_whose_tokens_stay() -> None:
    found = report(pairs(f"<s>{CHATML}"), is_chat=False, keeps_special_tokens=True)
    assert set(found) == {"begun_prompts"}


def test_golden_answers_without_a_rejected_side_are_read() -> None:
    data = [replace(pair, rejected=()) for pair in pairs(chosen="No.</s>")]
    assert set(report(data)) == {"ended_answers"}
