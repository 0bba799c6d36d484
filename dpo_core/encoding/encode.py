"""Encoding of preference pairs, in order: what a sweep calls; and what decides their tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from dpo_core.encoding.pair_encoder import PairEncoder
from dpo_core.encoding.rules import EncodingRules
from dpo_core.encoding.token_table import EncodedPair
from dpo_core.errors import DataError
from dpo_core.storage.arrow_files import chunks

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from dpo_core.preferences.pairs import PreferencePair

_BATCH = 1024
_DEFAULT_RULES = EncodingRules()


def encode(
    pairs: Iterable[PreferencePair],
    tokenizer: PreTrainedTokenizerBase,
    max_tokens: int,
    rules: EncodingRules = _DEFAULT_RULES,
    on_refused: Callable[[DataError], None] | None = None,
) -> Iterator[EncodedPair]:
    """Encode every pair, in order.

    Args:
        pairs: Chat or text pairs.
        tokenizer: Its chat template renders chat pairs.
        max_tokens: The most tokens of prompt and longer answer together; see `truncation`.
        rules: What else decides tokens.
        on_refused: Called with the error of a pair that cannot be encoded, which is then left out.

    Yields:
        The encoded pair for each pair.

    Raises:
        DataError: A pair cannot be encoded and there is no `on_refused`; or the tokenizer lacks the
            chat template or the end-of-sequence token that the pairs need.
        ModelError: The template breaks a limit on time, memory or length.
    """
    encoder = PairEncoder(tokenizer, max_tokens, rules)
    for batch in chunks(pairs, _BATCH):
        for encoded in encoder.encode(batch):
            if isinstance(encoded, EncodedPair):
                yield encoded
            elif on_refused is None:
                raise encoded
            else:
                on_refused(encoded)


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
