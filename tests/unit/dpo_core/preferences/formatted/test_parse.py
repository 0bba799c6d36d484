"""Texts that are already formatted become messages again, markup by markup; plain ones stay plain."""

from __future__ import annotations

import pytest

from dpo_core.errors import DataError
from dpo_core.preferences.formatted.markups import DIALOGUE, RENDERED
from dpo_core.preferences.formatted.parse import (
    parse_answer,
    parse_prompt,
    parse_whole,
    recognise,
    recognise_dialogue,
    without_begins,
    without_end,
)
from dpo_core.preferences.messages import assistant, system, user

# How templates of public models write the system text "Be brief.", a question, an answer and a second
# question, and then open the answer.
WITH_SYSTEM = {
    "ChatML": (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi\n  there<|im_end|>\n"
        "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nBye?<|im_end|>\n"
        "<|im_start|>assistant\n",
        "Bye.<|im_end|>\n",
    ),
    "ChatML of Phi-4": (
        "<|im_start|>system<|im_sep|>Be brief.<|im_end|><|im_start|>user<|im_sep|>Hi\n  there<|im_end|>"
        "<|im_start|>assistant<|im_sep|>Hello.<|im_end|><|im_start|>user<|im_sep|>Bye?<|im_end|>"
        "<|im_start|>assistant<|im_sep|>",
        "Bye.<|im_end|>",
    ),
    "Llama 3": (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: "
        "December 2023\nToday Date: 26 Jul 2024\n\nBe brief.<|eot_id|><|start_header_id|>user"
        "<|end_header_id|>\n\nHi\n  there<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
        "Hello.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nBye?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "Bye.<|eot_id|>",
    ),
    "Llama 4": (
        "<|begin_of_text|><|header_start|>system<|header_end|>\n\nBe brief.<|eot|><|header_start|>user"
        "<|header_end|>\n\nHi\n  there<|eot|><|header_start|>assistant<|header_end|>\n\nHello.<|eot|>"
        "<|header_start|>user<|header_end|>\n\nBye?<|eot|><|header_start|>assistant<|header_end|>\n\n",
        "Bye.<|eot|>",
    ),
    "Llama 2": (
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi\n  there [/INST] Hello. </s>"
        "<s>[INST] Bye? [/INST]",
        " Bye. </s>",
    ),
    "Mistral 7": (
        "<s>[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT][INST]Hi\n  there[/INST]Hello.</s>[INST]Bye?[/INST]",
        "Bye.</s>",
    ),
    "Gemma 4": (
        "<bos><|turn>system\nBe brief.<turn|>\n<|turn>user\nHi\n  there<turn|>\n<|turn>model\nHello."
        "<turn|>\n<|turn>user\nBye?<turn|>\n<|turn>model\n<|channel>thought\n<channel|>",
        "Bye.<turn|>\n",
    ),
    "Zephyr": (
        "<|system|>\nBe brief.</s>\n<|user|>\nHi\n  there</s>\n<|assistant|>\nHello.</s>\n<|user|>\n"
        "Bye?</s>\n<|assistant|>\n",
        "Bye.</s>\n",
    ),
    "Phi-3": (
        "<|system|>\nBe brief.<|end|>\n<|user|>\nHi\n  there<|end|>\n<|assistant|>\nHello.<|end|>\n"
        "<|user|>\nBye?<|end|>\n<|assistant|>\n",
        "Bye.<|end|>\n",
    ),
    "Tülu": (
        "<|system|>\nBe brief.\n<|user|>\nHi\n  there\n<|assistant|>\nHello.<|endoftext|>\n<|user|>\n"
        "Bye?\n<|assistant|>\n",
        "Bye.<|endoftext|>",
    ),
    "GLM": (
        "[gMASK]<sop><|system|>\nBe brief.<|user|>\nHi\n  there<|assistant|>\nHello.<|user|>\nBye?"
        "<|assistant|>",
        "\nBye.",
    ),
    "Open Assistant": (
        "<|system|>Be brief.<|endoftext|><|prompter|>Hi\n  there<|endoftext|><|assistant|>Hello."
        "<|endoftext|><|prompter|>Bye?<|endoftext|><|assistant|>",
        "Bye.<|endoftext|>",
    ),
    "Command R": (
        "<BOS_TOKEN><|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Be brief.<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi\n  there<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|>"
        "<|CHATBOT_TOKEN|>Hello.<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|USER_TOKEN|>Bye?"
        "<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        "<|START_RESPONSE|>Bye.<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",
    ),
    "DeepSeek": (
        "<｜begin▁of▁sentence｜>Be brief.<｜User｜>Hi\n  there<｜Assistant｜>Hello.<｜end▁of▁sentence｜>"
        "<｜User｜>Bye?<｜Assistant｜>",
        "Bye.<｜end▁of▁sentence｜>",
    ),
    "Granite": (
        "<|start_of_role|>system<|end_of_role|>Be brief.<|end_of_text|>\n<|start_of_role|>user"
        "<|end_of_role|>Hi\n  there<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>Hello."
        "<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>Bye?<|end_of_text|>\n"
        "<|start_of_role|>assistant<|end_of_role|>",
        "Bye.<|end_of_text|>\n",
    ),
    "gpt-oss": (
        "<|start|>developer<|message|>Be brief.<|end|><|start|>user<|message|>Hi\n  there<|end|>"
        "<|start|>assistant<|channel|>final<|message|>Hello.<|end|><|start|>user<|message|>Bye?<|end|>"
        "<|start|>assistant",
        "<|channel|>final<|message|>Bye.<|return|>",
    ),
    "OpenChat": (
        "<s>Be brief.<|end_of_turn|>GPT4 Correct User: Hi\n  there<|end_of_turn|>GPT4 Correct Assistant:"
        " Hello.<|end_of_turn|>GPT4 Correct User: Bye?<|end_of_turn|>GPT4 Correct Assistant:",
        " Bye.<|end_of_turn|>",
    ),
    "EXAONE": (
        "[|system|]Be brief.[|endofturn|]\n[|user|]Hi\n  there\n[|assistant|]Hello.[|endofturn|]\n"
        "[|user|]Bye?\n[|assistant|]",
        "Bye.[|endofturn|]\n",
    ),
    "Kimi": (
        "<|im_system|>system<|im_middle|>Be brief.<|im_end|><|im_user|>user<|im_middle|>Hi\n  there"
        "<|im_end|><|im_assistant|>assistant<|im_middle|>Hello.<|im_end|><|im_user|>user<|im_middle|>"
        "Bye?<|im_end|><|im_assistant|>assistant<|im_middle|>",
        "Bye.<|im_end|>",
    ),
    "MiniMax": (
        "]~!b[]~b]system\nBe brief.[e~[\n]~b]user\nHi\n  there[e~[\n]~b]ai\nHello.[e~[\n]~b]user\n"
        "Bye?[e~[\n]~b]ai\n",
        "Bye.[e~[\n",
    ),
    "Saiga": (
        "<s>system\nBe brief.</s><s>user\nHi\n  there</s><s>bot\nHello.</s><s>user\nBye?</s><s>bot\n",
        "Bye.</s>",
    ),
    "Human/Assistant": (
        "Be brief.\n\nHuman: Hi\n  there\n\nAssistant: Hello.\n\nHuman: Bye?\n\nAssistant:",
        " Bye.",
    ),
    "User/Assistant": (
        "System: Be brief.\nUser: Hi\n  there\nAssistant: Hello.\nUser: Bye?\nAssistant:",
        " Bye.",
    ),
    "Vicuna": (
        "Be brief. USER: Hi\n  there ASSISTANT: Hello.</s>USER: Bye? ASSISTANT:",
        " Bye.</s>",
    ),
    "Guanaco": (
        "Be brief.\n### Human: Hi\n  there\n### Assistant: Hello.\n### Human: Bye?\n### Assistant:",
        " Bye.",
    ),
    "Alpaca": (
        "Be brief.\n\n### Instruction:\nHi\n  there\n\n### Response:\nHello.\n\n### Instruction:\n"
        "Bye?\n\n### Response:\n",
        "Bye.",
    ),
}
TURNS = (system("Be brief."), user("Hi\n  there"), assistant("Hello."), user("Bye?"))

# Templates without a system message.
WITHOUT_SYSTEM = {
    "hh-rlhf": ("\n\nHuman: Hi\n\nAssistant:", " Bye."),
    "OIG": ("<human>: Hi\n<bot>:", " Bye."),
    "Mistral": ("<s> [INST] Hi [/INST]", " Bye.</s>"),
    "Gemma": (
        "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n",
        "Bye.<end_of_turn>\n",
    ),
    "DeepSeek 2": ("<｜begin▁of▁sentence｜>User: Hi\n\nAssistant:", " Bye.<｜end▁of▁sentence｜>"),
}
TEXTS = [(name, *texts, TURNS) for name, texts in WITH_SYSTEM.items()] + [
    (name, *texts, (user("Hi"),)) for name, texts in WITHOUT_SYSTEM.items()
]


@pytest.mark.parametrize(("name", "prompt", "answer", "turns"), TEXTS, ids=lambda v: str(v)[:20])
def test_a_prompt_and_its_answer_are_read(
    name: str, prompt: str, answer: str, turns: tuple
) -> None:
    markup = recognise(prompt)
    assert markup is not None, name
    parsed = parse_prompt(prompt, markup)
    assert parsed.turns == turns
    assert parse_answer(without_end(answer), markup, parsed) == (assistant("Bye."),)


@pytest.mark.parametrize(("name", "prompt", "answer", "turns"), TEXTS, ids=lambda v: str(v)[:20])
def test_prompt_and_answer_in_one_text_are_read(
    name: str, prompt: str, answer: str, turns: tuple
) -> None:
    text = prompt + answer
    format = recognise(prompt).format  # type: ignore[union-attr]
    markup = recognise_dialogue(text, format)
    assert markup is not None, name
    assert parse_whole(text, markup) == (*turns, assistant("Bye."))


@pytest.mark.parametrize(
    "text",
    [
        "What does <|im_start|>user mean in a prompt?",
        "Why do answers of this model end in <|im_end|>?",
        "[IMPORTANT] Read the leaflet",
        "Human: what is the plural of it?",  # nobody answers
        "User: stories should be short. Write three of them.",
        "Here is a chat.\nUser: Hi\nAssistant: Hello.\nWho spoke first?",
        "Classify. Question: Is it safe? Answer:",
        "<human> is no tag of HTML",
        "<s>This line is crossed out</s>, says the page",
        "Assistant:",
        "System: Linux. How do I list files?",
        "",
        "  ",
    ],
)
def test_a_text_that_mentions_markup_is_plain(text: str) -> None:
    assert recognise(text) is None


def test_each_markup_has_the_format_that_reads_it() -> None:
    chatml, dialogue = WITH_SYSTEM["ChatML"][0], WITHOUT_SYSTEM["hh-rlhf"][0]
    assert recognise(chatml, RENDERED) is not None
    assert recognise(chatml, DIALOGUE) is None
    assert recognise(dialogue, DIALOGUE) is not None
    assert recognise(dialogue, RENDERED) is None


def test_a_token_in_the_middle_of_a_turn_is_its_text() -> None:
    text = "<|im_start|>user\nIs <|im_end|> a token, and </s>?<|im_end|>\n<|im_start|>assistant\n"
    markup = recognise(text)
    assert markup is not None
    assert parse_prompt(text, markup).turns == (user("Is <|im_end|> a token, and </s>?"),)


def test_names_within_a_turn_are_its_text() -> None:
    prompt = "\n\nHuman: I am\nHuman: so\n\nAssistant:"
    markup = recognise(prompt)
    assert markup is not None
    parsed = parse_prompt(prompt, markup)
    assert parsed.turns == (user("I am\nHuman: so"),)
    answer = parse_answer(" Human: is a word.\nAssistant: too.", markup, parsed)
    assert answer == (assistant("Human: is a word.\nAssistant: too."),)


def test_an_answer_that_the_prompt_begins_keeps_its_beginning() -> None:
    prompt = "<|user|>Is it safe?<|end|><|assistant|>No, "
    markup = recognise(prompt)
    assert markup is not None
    parsed = parse_prompt(prompt, markup)
    assert parse_answer("it is not.", markup, parsed) == (assistant("No, it is not."),)


def test_reasoning_goes_with_the_answer_that_follows_it() -> None:
    prompt, _ = WITH_SYSTEM["gpt-oss"]
    markup = recognise(prompt)
    assert markup is not None
    answer = (
        "<|channel|>analysis<|message|>They leave.<|end|>"
        "<|start|>assistant<|channel|>final<|message|>Bye.<|return|>"
    )
    [message] = parse_answer(answer, markup, parse_prompt(prompt, markup))
    assert message == {**assistant("Bye."), "reasoning_content": "They leave."}


def test_a_tool_speaks_in_its_role() -> None:
    text = (
        "<|start_header_id|>user<|end_header_id|>\n\nStock?<|eot_id|><|start_header_id|>assistant"
        "<|end_header_id|>\n\nlook()<|eom_id|><|start_header_id|>ipython<|end_header_id|>\n\n12<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    markup = recognise(text)
    assert markup is not None
    roles = [message["role"] for message in parse_prompt(text, markup).turns]
    assert roles == ["user", "assistant", "tool"]


def test_text_that_has_no_role_is_refused() -> None:
    text = "<s>Be brief.<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    markup = recognise(text)
    assert markup is not None
    with pytest.raises(DataError, match=r"'Be brief.' stands before the first turn of ChatML text"):
        parse_prompt(text, markup)


def test_a_blank_question_stays_blank() -> None:
    text = "\n\nHuman:\n\nAssistant:"
    markup = recognise(text)
    assert markup is not None
    assert parse_prompt(text, markup).turns == (user(""),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Bye.<|im_end|>\n", "Bye."),
        ("Bye.</s></s>", "Bye."),
        ("Bye.<|end_of_text|> <|eot_id|>", "Bye."),
        ("Bye. \n", "Bye. \n"),
        ("<|im_end|> ends a turn", "<|im_end|> ends a turn"),
    ],
)
def test_end_tokens_are_removed_from_the_end_alone(text: str, expected: str) -> None:
    assert without_end(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<s> Hi", "Hi"),
        ("<|begin_of_text|><|begin_of_text|>Hi", "Hi"),
        (" Hi", " Hi"),
        ("<s>user\nHi", "<s>user\nHi"),  # a header of Saiga
    ],
)
def test_tokens_that_begin_a_text_are_removed(text: str, expected: str) -> None:
    assert without_begins(text) == expected
