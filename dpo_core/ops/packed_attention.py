"""Attention over packed rows, pair by pair: nothing is computed that the mask would throw away.

A row's prompt attends causally to itself, both answers attend to the prompt and to themselves; the
work grows with the square of a pair and not of the row, and no row-sized mask exists.

This module registers it with Transformers in the place of "sdpa". Calls without `packed` blocks (a
plain pass, generation) go to Transformers' own SDPA. Under a name of its own it would change what
some models compute in plain passes, too: they do one thing under "sdpa" and another under any other
name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from dpo_core.encoding.packing import Block

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def takes_blocks(config: PretrainedConfig) -> bool:
    """Return whether a model may attend pair by pair: one with eager attention (for a soft cap) not."""
    return bool(config._attn_implementation == "sdpa")


def answer_masks(blocks: Sequence[Block], dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """Build for each pair the additive attention mask of its two answers.

    Args:
        blocks: The pairs of a row, with P prompt, C chosen and R rejected tokens each.
        dtype: The dtype of the masks.
        device: Where the masks are created.

    Returns:
        One mask per pair, (C+R, P+C+R): 0 where an answer token may attend, else the lowest value.
    """
    return [_answer_mask(block, dtype, device) for block in blocks]


def _answer_mask(block: Block, dtype: torch.dtype, device: torch.device) -> Tensor:
    p, c, r = block.prompt, block.chosen, block.rejected
    allowed = torch.ones(c + r, p + c + r, dtype=torch.bool, device=device).tril(diagonal=p)
    allowed[c:, p : p + c] = False
    mask = torch.zeros(c + r, p + c + r, dtype=dtype, device=device)
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    packed: tuple[Sequence[Block], Sequence[Tensor]] | None = None,
    **others: object,
) -> tuple[Tensor, None]:
    """Attend within each pair of a packed row, through Transformers' attention interface.

    Args:
        module: The attention layer; only the plain pass looks at it.
        query: (1, heads, T, d).
        key: (1, kv heads, T, d).
        value: (1, kv heads, T, d).
        attention_mask: The mask of a plain pass; packed rows have `answer_masks` instead.
        dropout: The dropout probability of a plain pass.
        scaling: The factor of query · key; None for 1 / √d.
        packed: Blocks of the row and their `answer_masks`; None for a plain pass.
        others: Arguments that a plain pass hands on to Transformers.

    Returns:
        The attended values, (1, T, heads, d), and no attention weights.
    """
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
    split = (torch.split(x, tokens, dim=2) for x in (query, key, value))
    for block, mask, q, k, v in zip(*packed, *split, strict=True):
        p = block.prompt
        q_prompt, q_answers = torch.split(q, [p, block.tokens - p], dim=2)
        prompt = q_prompt, k[:, :, :p], v[:, :, :p]
        parts.append(scaled_dot_product_attention(*prompt, is_causal=True, scale=scaling))
        mask = mask.to(q.dtype)
        parts.append(scaled_dot_product_attention(q_answers, k, v, attn_mask=mask, scale=scaling))
    return torch.cat([part.transpose(1, 2) for part in parts], dim=1), None


ALL_ATTENTION_FUNCTIONS.register("sdpa", packed_attention)
