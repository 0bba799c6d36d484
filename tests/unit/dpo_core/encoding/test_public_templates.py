"""Every chat template that TRL ships, with every kind of conversation: an error of the row, or tokens
equal to `apply_chat_template` and TRL's rule for where an answer begins, with all losses told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trl

from dpo_core.encoding.pair_encoder import PairEncoder
from dpo_core.encoding.rules import EncodingRules
from dpo_core.encoding.token_table import EncodedPair
from dpo_core.errors import DataError
from dpo_core.preferences import PreferencePair
from dpo_core.preferences.messages import Message, assistant, system, user
from dpo_core.preferences.parse_row import pair_from_row
from tests.support.toys import toy_tokenizer

TEMPLATES = {
    file.stem: file.read_text("utf-8")
    for file in sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))
}
QUESTION = user("How long may I keep cough syrup?")
ANSWERS: dict[str, Any] = {
    "chosen": [assistant("Ask the pharmacist first.")],
    "rejected": [assistant("Take them all.")],
}
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up_leaflet",
        "description": "Find a leaflet.",
        "parameters": {"type": "object", "properties": {"product": {"type": "string"}}},
    },
}
CALL: Message = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "call12345",
            "type": "function",
            "function": {"name": "look_up_leaflet", "arguments": {"product": "syrup"}},
        }
    ],
}
RESULT: Message = {
    "role": "tool",
    "name": "look_up_leaflet",
    "tool_call_id": "call12345",
    "content": "Keep cool.",
}
TEXT_PARTS = [
    {"type": "text", "text": "How long may I keep it? "},
    {"type": "text", "text": "Green."},
]


def with_reasoning(text: str, reasoning: str) -> Message:
    return {**assistant(text), "reasoning_content": reasoning}


ROWS: dict[str, dict[str, Any]] = {
    "system": {**ANSWERS, "prompt": [system("Answer like a pirate."), QUESTION]},
    "developer": {
        **ANSWERS,
        "prompt": [{"role": "developer", "content": "Answer like a pirate."}, QUESTION],
    },
    "assistant first": {**ANSWERS, "prompt": [assistant("Welcome to the shop."), QUESTION]},
    "tool call history": {**ANSWERS, "prompt": [QUESTION, CALL, RESULT], "tools": [TOOL]},
    "tools": {**ANSWERS, "prompt": [QUESTION], "tools": [TOOL]},
    "reasoning": {
        "prompt": [QUESTION],
        "chosen": [with_reasoning("Ask first.", "They ask about storage.")],
        "rejected": [with_reasoning("Years.", "Be quick.")],
    },
    "settings": {
        **ANSWERS,
        "prompt": [QUESTION],
        "chat_template_kwargs": {"enable_thinking": False},
    },
    "several turns": {
        **ANSWERS,
        "prompt": [QUESTION, assistant("Which one?"), user("The green one.")],
    },
    "text in parts": {**ANSWERS, "prompt": [{"role": "user", "content": TEXT_PARTS}]},
    "empty system": {**ANSWERS, "prompt": [system(""), QUESTION]},
    "calls in an answer": {
        "prompt": [QUESTION],
        "tools": [TOOL],
        "chosen": [CALL],
        "rejected": [assistant("No idea.")],
    },
    "two systems": {
        **ANSWERS,
        "prompt": [system("Answer like a pirate."), system("Be very brief."), QUESTION],
    },
}


def trl_rule(pair: PreferencePair, tokenizer: Any) -> list[list[int]]:
    """Return prompt, chosen and rejected as TRL divides them."""
    settings = {"tools": list(pair.tools) or None, "return_dict": False, **pair.template_kwargs}
    prompt, *whole = (
        tokenizer.apply_chat_template(
            [*pair.prompt, *answer], add_generation_prompt=not answer, **settings
        )
        for answer in ((), pair.chosen, pair.rejected)
    )
    shared = min(_common(prompt, each) for each in whole)
    return [prompt[:shared], *(each[shared:] for each in whole)]


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    length = min(len(left), len(right))
    return next((i for i in range(length) if left[i] != right[i]), length)


@pytest.mark.parametrize("kind", ROWS)
def test_each_row_is_right_or_told(kind: str) -> None:
    pair = pair_from_row(ROWS[kind], where="rows.jsonl:1", line=1)
    rendered = 0
    tokenizer = toy_tokenizer()
    for name, template in TEMPLATES.items():
        tokenizer.chat_template = template
        encoder = PairEncoder(tokenizer, 100_000, EncodingRules(special_tokens="keep"))
        [encoded] = encoder.encode([pair])
        if isinstance(encoded, DataError):
            assert "the model's chat template refuses this row: " in str(encoded), name
            continue
        rendered += 1
        ids = [list(getattr(encoded, part)) for part in ("prompt", "chosen", "rejected")]
        assert ids == trl_rule(pair, tokenizer), name
        if not encoded.losses:
            assert everything_is_in(encoded, pair, tokenizer), name
    assert rendered > len(TEMPLATES) / 4


def everything_is_in(encoded: EncodedPair, pair: PreferencePair, tokenizer: Any) -> bool:
    """Return whether the tokens spell out all texts, calls and tools; in prompt or answer each."""
    places = {"prompt": encoded.prompt, "chosen": encoded.chosen, "rejected": encoded.rejected}
    for side, ids in places.items():
        text = tokenizer.decode(ids)
        for message in getattr(pair, side):
            calls = [call["function"]["name"] for call in message.get("tool_calls", ())]
            words = [message.get("content", ""), message.get("reasoning_content", ""), *calls]
            if not all(each.strip() in text for each in words):
                return False
    prompt = tokenizer.decode(encoded.prompt)
    return all(tool["function"]["name"] in prompt for tool in pair.tools)
