"""Attention over packed rows, pair by pair: nothing is computed that the mask would throw away.

Registered with Transformers under the name `PACKED`; a model uses it after `use_packed_attention`.
A row's prompt attends causally to itself, both answers attend to the prompt and to themselves; the
work grows with the square of a pair and not of the row, and no row-sized mask exists. Calls that
bring no `packed` blocks (a plain pass, generation) are Transformers' own SDPA.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from dpo_core.encoding.packing import Block

PACKED = "dpo_packed"


def use_packed_attention(model: Any) -> None:
    """Switch a model over that would use SDPA; others (eager for a soft cap) stay as they are."""
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(PACKED)


def answer_masks(blocks: Sequence[Block], dtype: torch.dtype, device: Any) -> list[Tensor]:
    """For each pair an additive mask (C+R, P+C+R): what its answers may see, 0 or the lowest value."""
    return [_answer_mask(block, dtype, device) for block in blocks]


def _answer_mask(block: Block, dtype: torch.dtype, device: Any) -> Tensor:
    p, c, r = block.prompt, block.chosen, block.rejected
    allowed = torch.ones(c + r, p + c + r, dtype=torch.bool, device=device).tril(diagonal=p)
    allowed[c:, p : p + c] = False
    mask = torch.zeros(c + r, p + c + r, dtype=dtype, device=device)
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min)


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    packed: tuple[Sequence[Block], Sequence[Tensor]] | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Transformers' attention interface. query (1, heads, T, d), key and value (1, kv heads, T, d);
    `packed` holds the blocks of the row and their `answer_masks`. Returns (1, T, heads, d)."""
    if packed is None:
        output: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
        return output
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    tokens = [block.tokens for block in packed[0]]
    parts = []
    # Split, not sliced: the gradient of each slice would be written as wide as the whole row.
    of_blocks = (torch.split(x, tokens, dim=2) for x in (query, key, value))
    for block, mask, q, k, v in zip(*packed, *of_blocks, strict=True):
        p = block.prompt
        q_prompt, q_answers = torch.split(q, [p, block.tokens - p], dim=2)
        of_prompt = q_prompt, k[:, :, :p], v[:, :, :p]
        parts.append(scaled_dot_product_attention(*of_prompt, is_causal=True, scale=scaling))
        mask = mask.to(q.dtype)
        parts.append(scaled_dot_product_attention(q_answers, k, v, attn_mask=mask, scale=scaling))
    return torch.cat([part.transpose(1, 2) for part in parts], dim=1), None


ALL_ATTENTION_FUNCTIONS.register(PACKED, packed_attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(PACKED, sdpa_mask)
