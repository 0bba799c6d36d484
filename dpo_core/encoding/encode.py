"""Encoding of preference pairs: chat template, token ids and truncation.

A pair becomes three lists of tokens: the prompt, and what the chat template renders after it for
each answer. So the end-of-turn token is part of the answer, as in TRL. If the template or a merge of
characters across the border changes tokens of the prompt, the prompt ends where the three renderings
diverge, the rest belongs to the answers, and the encoding report counts the pair as `merged`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from dpo_core.encoding.special_tokens import SpecialTokenEscaper
from dpo_core.encoding.token_table import EncodedPair, TokenIds
from dpo_core.errors import DataError
from dpo_core.preferences.messages import content_of
from dpo_core.storage.arrow_files import chunks

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from dpo_core.preferences.messages import Turns
    from dpo_core.preferences.pairs import PreferencePair

# A prompt that must be cut keeps at least this share of `max_tokens`, if the answers differ early.
PROMPT_SHARE = 0.5
_BATCH = 1024


def encode(
    pairs: Iterable[PreferencePair],
    tokenizer: PreTrainedTokenizerBase,
    max_tokens: int,
    special_tokens: str = "as_text",
) -> Iterator[EncodedPair]:
    """Encode every pair, in order; no pair is dropped.

    Args:
        pairs: Chat or text pairs.
        tokenizer: Its chat template renders chat pairs.
        max_tokens: The most tokens of prompt and longer answer together; see `truncate`.
        special_tokens: `as_text` encodes a special token that a text spells out as plain text,
            `keep` as the token.

    Yields:
        The encoded pair for each pair.

    Raises:
        DataError: A prompt or answer has no tokens, or the tokenizer lacks the chat template or the
            end-of-sequence token that the pairs need.
    """
    escaper = SpecialTokenEscaper(tokenizer) if special_tokens == "as_text" else None
    for batch in chunks(pairs, _BATCH):
        for pair in _tokenize(batch, tokenizer, escaper):
            yield truncate(pair, max_tokens)


def prompt_tokens(
    prompt: Turns | str, tokenizer: PreTrainedTokenizerBase, special_tokens: str = "as_text"
) -> TokenIds:
    """Encode a prompt that a model is to answer.

    Args:
        prompt: Chat messages or a text.
        tokenizer: Its chat template renders chat messages.
        special_tokens: See `encode`.

    Returns:
        The same tokens as the prompt of an encoded pair, without truncation.
    """
    escaper = SpecialTokenEscaper(tokenizer) if special_tokens == "as_text" else None
    if escaper and not any(map(escaper.count, _texts(prompt))):
        escaper = None
    [ids] = _render([_Text(prompt, None, escaper)], tokenizer)
    return ids


def uses_chat_template(tokenizer: PreTrainedTokenizerBase, format: str) -> bool:
    """Return whether string prompts become chat turns.

    They do not if `format` is "text", nor if it is "auto" and the tokenizer has no chat template. Raises
    DataError if it is another and the tokenizer has none.
    """
    has_template = getattr(tokenizer, "chat_template", None) is not None
    if format not in ("auto", "text") and not has_template:
        raise DataError(
            f"data.format: {format} needs a tokenizer with a chat template and this one has none; "
            "use a chat model or data.format: text"
        )
    return format != "text" and has_template


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the SHA-256 of all that decides tokens: vocabulary, merges, template, special tokens."""
    parts = [_vocabulary(tokenizer), tokenizer.chat_template, _special_tokens(tokenizer)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class _Text(NamedTuple):
    """A prompt, alone or with an answer, that becomes one list of tokens.

    It has an `escaper` if it spells out special tokens.
    """

    prompt: Turns | str
    answer: Turns | str | None
    escaper: SpecialTokenEscaper | None

    @property
    def is_chat(self) -> bool:
        return not isinstance(self.prompt, str)


def _tokenize(
    pairs: Sequence[PreferencePair],
    tokenizer: PreTrainedTokenizerBase,
    escaper: SpecialTokenEscaper | None,
) -> Iterator[EncodedPair]:
    words = [0] * len(pairs)
    if escaper:
        pairs = [_without_end(pair, tokenizer.eos_token) for pair in pairs]
        words = [_special_words(pair, escaper) for pair in pairs]
    texts = [
        _Text(pair.prompt, answer, escaper if spelled else None)
        for pair, spelled in zip(pairs, words, strict=True)
        for answer in (None, pair.chosen, pair.rejected)
    ]
    ids = _render(texts, tokenizer)
    for i, pair in enumerate(pairs):
        yield _encoded(pair, words[i], *ids[3 * i : 3 * i + 3])


def _encoded(
    pair: PreferencePair,
    words: int,
    prompt: TokenIds,
    with_chosen: TokenIds,
    with_rejected: TokenIds,
) -> EncodedPair:
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
    """Remove the end-of-sequence token from text answers, because encoding adds it anyway."""
    if not end or not isinstance(pair.chosen, str) or not isinstance(pair.rejected, str):
        return pair
    return replace(
        pair, chosen=pair.chosen.removesuffix(end), rejected=pair.rejected.removesuffix(end)
    )


def _special_words(pair: PreferencePair, escaper: SpecialTokenEscaper) -> int:
    sides = (pair.prompt, pair.chosen, pair.rejected)
    words = sum(escaper.count(text) for side in sides for text in _texts(side))
    if words or not isinstance(pair.prompt, str):
        return words
    # Prompt and answer are joined, and a special token may be spelled across the border.
    return sum(escaper.count(f"{pair.prompt}{answer}") for answer in (pair.chosen, pair.rejected))


def _texts(side: Turns | str) -> list[str]:
    return [side] if isinstance(side, str) else [content_of(message) for message in side]


def _render(texts: Sequence[_Text], tokenizer: PreTrainedTokenizerBase) -> list[TokenIds]:
    """Return the token ids of each text.

    Texts without special tokens go through the tokenizer together, which then uses all cores.
    """
    rendered = [_rendered(text, tokenizer) for text in texts]
    ids: list[list[int]] = [[]] * len(texts)
    for is_chat in (True, False):
        # Chat templates write all special tokens, so the tokenizer must add none to chat texts.
        common = [i for i, t in enumerate(texts) if t.is_chat == is_chat and t.escaper is None]
        if common:
            batch = [rendered[i] for i in common]
            encoded = tokenizer(batch, add_special_tokens=not is_chat)["input_ids"]
            for i, token_ids in zip(common, encoded, strict=True):
                ids[i] = list(token_ids)
    for i, text in enumerate(texts):
        if text.escaper:
            ids[i] = text.escaper.tokens(rendered[i], add_special_tokens=not text.is_chat)
    return [_with_end(text, each, tokenizer) for text, each in zip(texts, ids, strict=True)]


def _rendered(text: _Text, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the string that the tokenizer encodes."""
    prompt, answer, escaper = text
    if isinstance(prompt, str):
        if tokenizer.eos_token_id is None:
            raise DataError(
                "the data holds plain texts and the tokenizer has no end-of-sequence token to "
                "close an answer with; set its eos_token, or use chat messages and a chat model"
            )
        joined = prompt if answer is None else f"{prompt}{answer}"
        return escaper.escape(joined) if escaper else joined
    if getattr(tokenizer, "chat_template", None) is None:
        raise DataError(
            "the data holds chat messages and the tokenizer has no chat template; "
            "use a chat model, or plain strings for prompt, chosen and rejected"
        )
    assert not isinstance(answer, str), "a pair is chat or text as a whole"
    messages = [*prompt, *(answer or ())]
    return str(
        tokenizer.apply_chat_template(
            escaper.escape_turns(messages) if escaper else messages,
            tokenize=False,
            add_generation_prompt=answer is None,
        )
    )


def _with_end(text: _Text, ids: list[int], tokenizer: PreTrainedTokenizerBase) -> TokenIds:
    """Append the end-of-sequence token to a text answer, so that the policy learns where to stop.

    It is removed from a text prompt that the tokenizer has closed.
    """
    if not text.is_chat:
        ends = ids[-1:] == [tokenizer.eos_token_id]
        if text.answer is not None and not ends:
            ids.append(tokenizer.eos_token_id)
        elif text.answer is None and ends:
            ids.pop()
    return tuple(ids)


def truncate(pair: EncodedPair, max_tokens: int) -> EncodedPair:
    """Return the pair cut so that prompt and longer answer together have at most `max_tokens`.

    First the prompt is cut at its start, down to half of the budget; its end is the question. Then
    the answers are cut at their ends, but the first token in which they differ is kept: if needed,
    the prompt is cut further. Only a pair whose answers share more tokens than the whole budget ends
    up with two equal answers.
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
        cut_chosen=len(pair.chosen) - len(chosen),
    )


def _common_prefix(left: TokenIds, right: TokenIds) -> int:
    length = min(len(left), len(right))
    return next((i for i in range(length) if left[i] != right[i]), length)


def _vocabulary(tokenizer: PreTrainedTokenizerBase) -> dict[str, object]:
    """Return the vocabulary, with merges and all rules of a tokenizer that has a backend."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return dict(tokenizer.get_vocab())
    # A call of the tokenizer may switch padding and truncation. Encoding uses neither, and the
    # fingerprint must be the same before and after a call.
    state = json.loads(backend.to_str())
    return {k: v for k, v in state.items() if k not in ("padding", "truncation")}


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    return {k: str(v) for k, v in sorted(tokenizer.special_tokens_map.items())}
