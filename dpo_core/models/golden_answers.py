"""The model's own answers to golden prompts: generated once, kept in parts, the same every time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dpo_core.preferences.golden import is_unanswered, with_model_answer
from dpo_core.preferences.messages import Turns
from dpo_core.preferences.pairs import PreferencePair
from dpo_core.storage.arrow_files import chunks
from dpo_core.storage.store import Store

PAIRS_PER_PART = 16  # prompts a part: what a kill can cost
Generate = Callable[[Sequence[Turns | str], int], list[str]]


@dataclass(frozen=True)
class CompletedPairs:
    """Pairs in their order, without those the model gave no usable answer for."""

    pairs: list[PreferencePair]
    dropped: list[str]


def unanswered_parts(pairs: Iterable[PreferencePair]) -> list[list[PreferencePair]]:
    """Those that wait for an answer, in the batches in which they are answered."""
    return list(chunks(filter(is_unanswered, pairs), PAIRS_PER_PART))


def generate_missing_answers(
    parts: Iterable[Sequence[PreferencePair]],
    generate: Generate,
    store: Store,
    about: Sequence[str],
) -> int:
    """Have the parts answered that are not; returns how many were not.

    `generate(prompts, seed)` makes one answer a prompt; the seed is a part's own, so that an answer
    is the same wherever its part stands and whoever makes it. `about` names everything else that an
    answer depends on (weights, tokenizer, sampling). A part is kept as soon as it is made, so a
    killed run goes on where it stopped.
    """
    made = 0
    for part in parts:
        key = _key(part, about)
        if store.read_json(f"{key}.json") is None:
            texts = generate([pair.prompt for pair in part], int(key[:8], 16))
            store.write(f"{key}.json", json.dumps(texts).encode())
            made += 1
    return made


def insert_answers(
    pairs: Sequence[PreferencePair], store: Store, about: Sequence[str]
) -> CompletedPairs:
    """Give each waiting pair the answer that was made for it. Raises FileNotFoundError when one was
    not made."""
    answers: dict[str, str] = {}
    for part in unanswered_parts(pairs):
        texts = json.loads(store.read(f"{_key(part, about)}.json"))
        answers |= {pair.id: text for pair, text in zip(part, texts, strict=True)}
    kept: list[PreferencePair] = []
    dropped: list[str] = []
    for pair in pairs:
        made = with_model_answer(pair, answers[pair.id]) if is_unanswered(pair) else pair
        if isinstance(made, str):
            dropped.append(made)
        else:
            kept.append(made)
    return CompletedPairs(kept, dropped)


def _key(part: Sequence[PreferencePair], about: Sequence[str]) -> str:
    content = json.dumps([list(about), [pair.prompt for pair in part]], ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:32]
