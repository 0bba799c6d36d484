"""The one place where tokens, templates and truncation are decided.

A pair becomes three token lists: the prompt, and what the chat template renders after it for each
answer (so the end-of-turn token is part of the answer, as in TRL). The prompt is whatever both
renderings share with the rendered prompt; should the template or a token merge break that, the
answers start where they diverge and the report counts it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from dpo_core.encoding.special_tokens import SpecialTokenEscaper
from dpo_core.encoding.token_table import EncodedPair, TokenIds
from dpo_core.errors import DataError
from dpo_core.storage.arrow_files import chunks

if TYPE_CHECKING:
    from dpo_core.preferences.pairs import PreferencePair

# At least this share of `max_tokens` stays with a prompt that has to be cut.
PROMPT_SHARE = 0.5
_BATCH = 1024


def encode(
    pairs: Iterable[PreferencePair],
    tokenizer: Any,
    max_tokens: int,
    special_tokens: str = "as_text",
) -> Iterator[EncodedPair]:
    """Tokens of every pair, in order; none is dropped. Raises DataError on an empty side.

    What spells a special token in the pairs is tokenized `as_text`, or becomes the token (`keep`).
    """
    escaper = SpecialTokenEscaper(tokenizer) if special_tokens == "as_text" else None
    for batch in chunks(pairs, _BATCH):
        for pair in _tokenize(batch, tokenizer, escaper):
            yield truncate(pair, max_tokens)


def prompt_tokens(prompt: Any, tokenizer: Any, special_tokens: str = "as_text") -> TokenIds:
    """What a model reads before it answers: the prompt part of a pair, uncut."""
    escaper = SpecialTokenEscaper(tokenizer) if special_tokens == "as_text" else None
    if escaper and not any(map(escaper.count, _texts(prompt))):
        escaper = None
    [ids] = _render([_Text(prompt, None, escaper)], tokenizer)
    return ids


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


class _Text(NamedTuple):
    """What is rendered and becomes one list of tokens; `escaper` where it spells special tokens."""

    prompt: Any
    answer: Any
    escaper: SpecialTokenEscaper | None

    @property
    def is_chat(self) -> bool:
        return not isinstance(self.prompt, str)


def _tokenize(
    pairs: Sequence[PreferencePair], tokenizer: Any, escaper: SpecialTokenEscaper | None
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
    """Texts may bring the token along that closes them; it is put there anyway."""
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
    # Plain texts are joined, and a word may be spelled across the seam.
    return sum(escaper.count(f"{pair.prompt}{answer}") for answer in (pair.chosen, pair.rejected))


def _texts(side: Any) -> list[str]:
    return [side] if isinstance(side, str) else [message["content"] for message in side]


def _render(texts: Sequence[_Text], tokenizer: Any) -> list[TokenIds]:
    """Token ids of each. Those without special words go through the tokenizer together, which then
    uses all cores."""
    rendered = [_written(text, tokenizer) for text in texts]
    ids: list[list[int]] = [[]] * len(texts)
    for is_chat in (True, False):
        # The common text takes the tokenizer's own way. A template writes its special tokens itself.
        common = [i for i, t in enumerate(texts) if t.is_chat == is_chat and t.escaper is None]
        if common:
            given = [rendered[i] for i in common]
            made = tokenizer(given, add_special_tokens=not is_chat)["input_ids"]
            for i, each in zip(common, made, strict=True):
                ids[i] = list(each)
    for i, text in enumerate(texts):
        if text.escaper:
            ids[i] = text.escaper.tokens(rendered[i], add_special_tokens=not text.is_chat)
    return [_closed(text, each, tokenizer) for text, each in zip(texts, ids, strict=True)]


def _written(text: _Text, tokenizer: Any) -> str:
    """The text that the tokenizer gets."""
    prompt, answer, escaper = text
    if not text.is_chat:
        if tokenizer.eos_token_id is None:
            raise DataError(
                "the data holds plain texts and the tokenizer has no end-of-sequence token to "
                "close an answer with; set its eos_token, or use chat messages and a chat model"
            )
        joined = prompt if answer is None else prompt + answer
        return escaper.escape(joined) if escaper else str(joined)
    if getattr(tokenizer, "chat_template", None) is None:
        raise DataError(
            "the data holds chat messages and the tokenizer has no chat template; "
            "use a chat model, or plain strings for prompt, chosen and rejected"
        )
    messages = [*prompt, *(answer or ())]
    return str(
        tokenizer.apply_chat_template(
            escaper.escape_turns(messages) if escaper else messages,
            tokenize=False,
            add_generation_prompt=answer is None,
        )
    )


def _closed(text: _Text, ids: list[int], tokenizer: Any) -> TokenIds:
    """A plain text has no end-of-turn of its own, and the policy must learn where to stop."""
    if not text.is_chat:
        ends = ids[-1:] == [tokenizer.eos_token_id]
        if text.answer is not None and not ends:
            ids.append(tokenizer.eos_token_id)
        elif text.answer is None and ends:
            ids.pop()
    return tuple(ids)


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
