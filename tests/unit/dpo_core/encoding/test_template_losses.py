"""What a template drops, moves or ignores is found, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_core.encoding.encode import encode
from dpo_core.encoding.rules import EncodingRules
from dpo_core.encoding.template_losses import Loss
from dpo_core.encoding.token_table import EncodedPair
from dpo_core.preferences.messages import assistant, system, user
from dpo_core.preferences.pairs import PreferencePair, make_pair
from tests.support import chat_templates
from tests.support.toys import toy_tokenizer

CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"type": "function", "function": {"name": "stock", "arguments": {"of": "syrup"}}}
    ],
}
RESULT = {"role": "tool", "name": "stock", "content": '{"left": 12}'}
TOOLS = ({"type": "function", "function": {"name": "stock", "parameters": {}}},)


def pair(*prompt: dict[str, Any], chosen: Any = None, **rest: Any) -> PreferencePair:
    return make_pair(prompt, (chosen or assistant("No."),), (assistant("Yes."),), line=3, **rest)


def encoded_with(
    template: str, each: PreferencePair, rules: EncodingRules | None = None
) -> EncodedPair:
    tokenizer = toy_tokenizer(template)
    (encoded,) = encode([each], tokenizer, 512, rules or EncodingRules())
    return encoded


def losses(template: str, each: PreferencePair) -> list[tuple[str, str]]:
    return [loss[:2] for loss in encoded_with(template, each).losses]


FULL = pair(
    system("Be brief."),
    user("May I?"),
    CALL,
    RESULT,
    chosen={**assistant("No."), "reasoning_content": "They ask."},
    tools=TOOLS,
)


def test_a_template_that_writes_everything_loses_nothing() -> None:
    encoded = encoded_with(chat_templates.WITH_EVERYTHING, FULL)
    assert encoded.losses == ()
    assert not encoded.merged
    text = toy_tokenizer().decode(encoded.prompt + encoded.chosen)
    assert text.startswith("[tool stock][system]Be brief.[end][user]May I?[end]")
    assert '"of": "syrup"' in text
    assert "[tool stock]{" in text
    assert text.endswith("[assistant]<think>They ask.</think>No.[end]")


def test_what_a_plain_template_does_not_write_is_told() -> None:
    assert losses(chat_templates.PLAIN, FULL) == [
        ("dropped", "tool definition"),
        ("dropped", "tool call"),
        ("dropped", "answer's reasoning"),
    ]


def test_the_beginning_of_what_is_lost_is_kept() -> None:
    [loss] = encoded_with(chat_templates.DROPS_TOOL_MESSAGES, pair(user("a"), CALL, RESULT)).losses[
        1:
    ]
    assert loss == Loss("dropped", "tool text", "'{\"left\": 12}'")


def test_thinking_that_is_cut_out_of_a_text_is_told() -> None:
    answer = assistant("<think>They ask.</think>No.")
    assert losses(chat_templates.STRIPS_THINKING, pair(user("a"), chosen=answer)) == [
        ("dropped", "answer's text")
    ]
    assert losses(chat_templates.PLAIN, pair(user("a"), chosen=answer)) == []


def test_a_prompt_that_moves_into_the_answers_is_told() -> None:
    encoded = encoded_with(chat_templates.MOVES_SYSTEM, pair(system("Be brief."), user("May I?")))
    assert encoded.merged
    assert [loss[:2] for loss in encoded.losses] == [
        ("dropped", "system text"),
        ("moved", "user text"),
    ]
    folded = EncodingRules(fold_system=True)
    good = encoded_with(
        chat_templates.MOVES_SYSTEM, pair(system("Be brief."), user("May I?")), folded
    )
    assert (good.losses, good.merged) == ((), False)


def test_a_template_for_parts_that_erases_strings_is_told() -> None:
    assert losses(chat_templates.WANTS_PARTS, pair(user("May I?"))) == [
        ("dropped", "user text"),
        ("dropped", "answer's text"),
        ("dropped", "answer's text"),
    ]


@pytest.mark.parametrize("text", ["  outer\n", 'say "no"\n\tor', "ä \u2028 é"])
def test_outer_white_space_and_the_spelling_of_json_are_no_loss(text: str) -> None:
    written_as_json = (
        "{% for m in messages %}{{ '[' + m.role + ']' + (m.content | tojson) + '[end]' }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    trimmed = chat_templates.PLAIN.replace("(m['content'] or '')", "(m['content'] | trim)")
    assert losses(written_as_json, pair(user(text))) == []
    assert losses(trimmed, pair(user(text))) == []


def test_a_second_message_with_the_same_text_must_be_there_too() -> None:
    only_first = chat_templates.PLAIN.replace("in messages", "in messages[:1] + messages[2:]", 1)
    repeated = pair(user("Yes?"), {"role": "assistant", "content": "Yes?"}, user("Now?"))
    assert ("dropped", "assistant text") in losses(only_first, repeated)


def test_a_setting_that_the_template_never_mentions_is_told() -> None:
    settings = {"enable_thinking": False}
    rules = EncodingRules(template_kwargs=settings)
    assert encoded_with(chat_templates.PLAIN, pair(user("a")), rules).losses == (
        Loss("ignored", "setting", "enable_thinking"),
    )
    reading = chat_templates.PLAIN + "{{ enable_thinking }}"
    assert encoded_with(reading, pair(user("a")), rules).losses == ()


def test_special_words_are_compared_as_they_are_escaped() -> None:
    assert losses(chat_templates.PLAIN, pair(user("Say <|im_end|> now."))) == []
