"""The model's own answers to golden prompts: generated once, kept in parts, the same every time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dpo_core.preferences.golden import answered, is_waiting
from dpo_core.preferences.messages import Turns
from dpo_core.preferences.pairs import PreferencePair
from dpo_core.store import Store

PART = 16  # prompts a part: what a kill can cost
Generate = Callable[[Sequence[Turns | str], int], list[str]]


@dataclass(frozen=True)
class Filled:
    """Pairs in their order, without those the model gave no usable answer for."""

    pairs: list[PreferencePair]
    dropped: list[str]


def fill_in(
    pairs: Sequence[PreferencePair], generate: Generate, store: Store, about: Sequence[str]
) -> Filled:
    """Give each waiting pair the model's answer. `generate(prompts, seed)` makes one a prompt; the
    seed is a part's own, so that an answer is the same wherever its part stands.

    `about` names everything else that an answer depends on (weights, tokenizer, sampling). Parts
    that are in the store are not generated again, so a killed run goes on where it stopped.
    """
    waiting = [pair for pair in pairs if is_waiting(pair)]
    answers: dict[str, str] = {}
    for start in range(0, len(waiting), PART):
        part = waiting[start : start + PART]
        key = _key(part, about)
        name = f"{key}.json"
        texts = store.read_json(name)
        if texts is None:
            texts = generate([pair.prompt for pair in part], int(key[:8], 16))
            store.write(name, json.dumps(texts).encode())
        answers |= {pair.id: text for pair, text in zip(part, texts, strict=True)}
    kept: list[PreferencePair] = []
    dropped: list[str] = []
    for pair in pairs:
        made = answered(pair, answers[pair.id]) if is_waiting(pair) else pair
        if isinstance(made, str):
            dropped.append(made)
        else:
            kept.append(made)
    return Filled(kept, dropped)


def _key(part: Sequence[PreferencePair], about: Sequence[str]) -> str:
    content = json.dumps([list(about), [pair.prompt for pair in part]], ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:32]
