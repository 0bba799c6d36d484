"""The one place where tokens, templates and truncation are decided.

A pair becomes three token lists: the prompt, and what the chat template renders after it for each
answer (so the end-of-turn token is part of the answer, as in TRL). The prompt is whatever both
renderings share with the rendered prompt; should the template or a token merge break that, the
answers start where they diverge and the report counts it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dpo_core.errors import DataError
from dpo_core.plain_text import PlainText
from dpo_core.tokens import EncodedPair, TokenIds

if TYPE_CHECKING:
    from dpo_core.preferences.pairs import PreferencePair

# At least this share of `max_tokens` stays with a prompt that has to be cut.
PROMPT_SHARE = 0.5


def encode(
    pairs: Iterable[PreferencePair],
    tokenizer: Any,
    max_tokens: int,
    special_tokens: str = "as_text",
) -> Iterator[EncodedPair]:
    """Tokens of every pair, in order; none is dropped. Raises DataError on an empty side.

    What spells a special token in the pairs is tokenized `as_text`, or becomes the token (`keep`).
    """
    plain = PlainText(tokenizer) if special_tokens == "as_text" else None
    return (truncate(_tokenize(pair, tokenizer, plain), max_tokens) for pair in pairs)


def prompt_tokens(prompt: Any, tokenizer: Any, special_tokens: str = "as_text") -> TokenIds:
    """What a model reads before it answers: the prompt part of a pair, uncut."""
    plain = PlainText(tokenizer) if special_tokens == "as_text" else None
    veil = plain if plain and any(map(plain.count, _texts(prompt))) else None
    return _render(prompt, None, tokenizer, veil)


def uses_chat_template(tokenizer: Any, format: str) -> bool:
    """Whether string prompts become chat turns: `format` says so, or the tokenizer can (`auto`)."""
    has_template = getattr(tokenizer, "chat_template", None) is not None
    if format == "chat" and not has_template:
        raise DataError(
            "data.format: chat needs a tokenizer with a chat template and this one has none; "
            "use a chat model or data.format: text"
        )
    return format == "chat" or (format == "auto" and has_template)


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """sha256 over what decides tokens: vocabulary, merges, template, special tokens."""
    parts = [_core(tokenizer), tokenizer.chat_template, _special_tokens(tokenizer)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _tokenize(pair: PreferencePair, tokenizer: Any, plain: PlainText | None) -> EncodedPair:
    if plain:
        pair = _without_end(pair, tokenizer.eos_token)
    words = _special_words(pair, plain) if plain else 0
    veil = plain if words else None  # the common pair takes the tokenizer's own way
    prompt = _render(pair.prompt, None, tokenizer, veil)
    with_chosen = _render(pair.prompt, pair.chosen, tokenizer, veil)
    with_rejected = _render(pair.prompt, pair.rejected, tokenizer, veil)
    shared = min(_common_prefix(prompt, with_chosen), _common_prefix(prompt, with_rejected))
    chosen, rejected = with_chosen[shared:], with_rejected[shared:]
    if not (shared and chosen and rejected):
        empty = "prompt" if not shared else "chosen answer" if not chosen else "rejected answer"
        raise DataError(f"line {pair.line}: the {empty} has no tokens; every side needs some text")
    merged = shared < len(prompt)
    return EncodedPair(
        pair.id,
        prompt[:shared],
        chosen,
        rejected,
        merged=merged,
        special_words=words,
        source=pair.source,
        category=pair.category,
    )


def _without_end(pair: PreferencePair, end: str | None) -> PreferencePair:
    """Texts may bring the token along that closes them; it is put there anyway."""
    if not end or not isinstance(pair.chosen, str) or not isinstance(pair.rejected, str):
        return pair
    return replace(
        pair, chosen=pair.chosen.removesuffix(end), rejected=pair.rejected.removesuffix(end)
    )


def _special_words(pair: PreferencePair, plain: PlainText) -> int:
    sides = (pair.prompt, pair.chosen, pair.rejected)
    words = sum(plain.count(text) for side in sides for text in _texts(side))
    if words or not isinstance(pair.prompt, str):
        return words
    # Plain texts are joined, and a word may be spelled across the seam.
    return sum(plain.count(f"{pair.prompt}{answer}") for answer in (pair.chosen, pair.rejected))


def _texts(side: Any) -> list[str]:
    return [side] if isinstance(side, str) else [message["content"] for message in side]


def _render(prompt: Any, answer: Any, tokenizer: Any, plain: PlainText | None) -> TokenIds:
    if isinstance(prompt, str):
        if tokenizer.eos_token_id is None:
            raise DataError(
                "the data holds plain texts and the tokenizer has no end-of-sequence token to "
                "close an answer with; set its eos_token, or use chat messages and a chat model"
            )
        text = prompt if answer is None else prompt + answer
        if plain:
            ids = plain.tokens(plain.veil(text), add_special_tokens=True)
        else:
            ids = list(tokenizer(text, add_special_tokens=True)["input_ids"])
        # A plain text has no end-of-turn of its own, and the policy must learn where to stop.
        if answer is not None and ids[-1:] != [tokenizer.eos_token_id]:
            ids.append(tokenizer.eos_token_id)
        elif answer is None and ids[-1:] == [tokenizer.eos_token_id]:
            ids.pop()
        return tuple(ids)
    if getattr(tokenizer, "chat_template", None) is None:
        raise DataError(
            "the data holds chat messages and the tokenizer has no chat template; "
            "use a chat model, or plain strings for prompt, chosen and rejected"
        )
    messages = [*prompt, *(answer or ())]
    if plain:
        veiled = plain.veil_turns(messages)
        rendered = tokenizer.apply_chat_template(
            veiled, tokenize=False, add_generation_prompt=answer is None
        )
        return tuple(plain.tokens(rendered))
    return tuple(
        tokenizer.apply_chat_template(
            messages, tokenize=True, add_generation_prompt=answer is None, return_dict=True
        )["input_ids"]
    )


def truncate(pair: EncodedPair, max_tokens: int) -> EncodedPair:
    """Fit prompt + longer answer into `max_tokens`, keeping the two answers different.

    The prompt gives first and loses its start (its end is the question), down to half of the
    budget; then the answers lose their ends, but never so much that the first token in which they
    differ falls away: for that the prompt gives more. Only a pair whose answers share more tokens
    than the whole budget ends up indistinct.
    """
    longest = max(len(pair.chosen), len(pair.rejected))
    if len(pair.prompt) + longest <= max_tokens:
        return pair
    differing = min(_common_prefix(pair.chosen, pair.rejected) + 1, longest)
    prompt_kept = min(len(pair.prompt), max(max_tokens - longest, int(max_tokens * PROMPT_SHARE)))
    prompt_kept = max(1, min(prompt_kept, max_tokens - differing))
    room = max_tokens - prompt_kept
    chosen, rejected = pair.chosen[:room], pair.rejected[:room]
    return replace(
        pair,
        prompt=pair.prompt[len(pair.prompt) - prompt_kept :],
        chosen=chosen,
        rejected=rejected,
        cut_prompt=len(pair.prompt) - prompt_kept,
        cut_answers=len(pair.chosen) - len(chosen) + len(pair.rejected) - len(rejected),
    )


def _common_prefix(left: TokenIds, right: TokenIds) -> int:
    length = min(len(left), len(right))
    return next((i for i in range(length) if left[i] != right[i]), length)


def _core(tokenizer: Any) -> dict[str, Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return dict(tokenizer.get_vocab())
    # Padding and truncation are switches that calls turn; encoding here uses neither, and the
    # fingerprint must be the same before and after it.
    state = json.loads(backend.to_str())
    return {k: v for k, v in state.items() if k not in ("padding", "truncation")}


def _special_tokens(tokenizer: Any) -> dict[str, Any]:
    return {k: str(v) for k, v in sorted(tokenizer.special_tokens_map.items())}
