"""The model's own answers to golden prompts: generated once, stored in parts, always the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dpo_core.preferences.golden import is_unanswered, with_model_answer
from dpo_core.preferences.pairs import PreferencePair
from dpo_core.storage.arrow_files import chunks
from dpo_core.storage.json_content import DamagedJson, decode_json, encode_json
from dpo_core.storage.store import Store

PAIRS_PER_PART = 16  # a killed process loses at most the answers of one part
Generate = Callable[[Sequence[PreferencePair], int], list[str]]  # (pairs, seed) -> answers


@dataclass(frozen=True)
class CompletedPairs:
    """Pairs in their order, without those for which the model gave no usable answer."""

    pairs: list[PreferencePair]
    dropped: list[str]  # the reason for each pair that is left out


def unanswered_parts(pairs: Iterable[PreferencePair]) -> list[list[PreferencePair]]:
    """Return the pairs that have no rejected answer yet, in parts that are answered together."""
    return list(chunks(filter(is_unanswered, pairs), PAIRS_PER_PART))


def generate_missing_answers(
    parts: Iterable[Sequence[PreferencePair]],
    generate: Generate,
    store: Store,
    depends_on: Sequence[str],
) -> int:
    """Generate and store the answers of the parts that are not stored yet.

    Each part is stored as soon as it is generated, so a killed run continues where it stopped.

    Args:
        parts: Pairs without a rejected answer, from `unanswered_parts`.
        generate: Called with a part's pairs and seed; returns one answer per prompt. The seed
            comes from the part's content, so an answer is the same whichever worker generates it.
        store: Where the answers are kept.
        depends_on: Everything else an answer depends on (weights, tokenizer, sampling settings).

    Returns:
        How many parts were generated.
    """
    generated = 0
    for part in parts:
        key = _key(part, depends_on)
        if _stored_answers(store, key, part) is None:
            texts = generate(part, int(key[:8], 16))
            store.write(f"{key}.json", encode_json({"texts": texts}))
            generated += 1
    return generated


def insert_answers(
    pairs: Sequence[PreferencePair], store: Store, depends_on: Sequence[str]
) -> CompletedPairs:
    """Give each pair without a rejected answer the one that was generated for it.

    Args:
        pairs: Pairs with and without a rejected answer.
        store: Where `generate_missing_answers` stored the answers.
        depends_on: What it was given for `depends_on`.

    Returns:
        The pairs with their answers, and why some are left out.

    Raises:
        FileNotFoundError: An answer was not generated.
    """
    answers: dict[str, str] = {}
    for part in unanswered_parts(pairs):
        key = _key(part, depends_on)
        texts = _stored_answers(store, key, part)
        if texts is None:
            raise FileNotFoundError(f"{store.uri}/{key}.json")
        answers |= {pair.id: text for pair, text in zip(part, texts, strict=True)}
    completed: list[PreferencePair] = []
    dropped: list[str] = []
    for pair in pairs:
        result = with_model_answer(pair, answers[pair.id]) if is_unanswered(pair) else pair
        if isinstance(result, str):
            dropped.append(result)
        else:
            completed.append(result)
    return CompletedPairs(completed, dropped)


def _stored_answers(store: Store, key: str, part: Sequence[PreferencePair]) -> list[str] | None:
    """Return one answer per pair of the part; None where none are stored, or a damaged file."""
    try:
        content = decode_json(store.read(f"{key}.json"))
    except (FileNotFoundError, DamagedJson):
        return None
    # Earlier versions stored the list alone.
    texts = content.get("texts", ()) if isinstance(content, dict) else content
    is_whole = isinstance(texts, list) and all(isinstance(text, str) for text in texts)
    return texts if is_whole and len(texts) == len(part) else None


def _key(part: Sequence[PreferencePair], depends_on: Sequence[str]) -> str:
    settings = [[pair.tools, pair.template_kwargs] for pair in part]
    # Only where there are any, so that answers of earlier versions are used again.
    rest = [settings] if any(tools or kwargs for tools, kwargs in settings) else []
    content = json.dumps(
        [list(depends_on), [pair.prompt for pair in part], *rest], ensure_ascii=False
    )
    return hashlib.sha256(content.encode()).hexdigest()[:32]
