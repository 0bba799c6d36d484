"""Attention pair by pair equals attention over the whole row under its mask."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from dpo_core.encoding.packing import Row, build_row
from dpo_core.encoding.token_table import EncodedPair
from dpo_core.ops.packed_attention import answer_masks, packed_attention, takes_blocks
from tests.support.toys import toy_encoded, toy_llama

HEADS, KV_HEADS, WIDTH = 4, 2, 8


@pytest.fixture(scope="module")
def row() -> Row:
    return build_row(toy_encoded(3), range(3))


def random_qkv(tokens: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(1, heads, tokens, WIDTH, generator=generator)
        for heads in (HEADS, KV_HEADS, KV_HEADS)
    ]


def test_a_mask_by_hand() -> None:
    row = build_row([EncodedPair("a", (1, 2), (3, 4), (5,))], [0])
    (mask,) = answer_masks(row.blocks, torch.float32, torch.device("cpu"))
    x = torch.finfo(torch.float32).min
    assert mask.tolist() == [
        [0, 0, 0, x, x],  # the first chosen token attends to the prompt and itself
        [0, 0, 0, 0, x],  # the second also to the first
        [0, 0, x, x, 0],  # the rejected token to no chosen one
    ]


@pytest.mark.parametrize("scaling", [None, 0.5])
def test_pair_by_pair_equals_the_whole_row(row: Row, scaling: float | None) -> None:
    query, key, value = random_qkv(row.input_ids.shape[1])
    packed = row.blocks, answer_masks(row.blocks, torch.float32, torch.device("cpu"))
    output, weights = packed_attention(
        torch.nn.Module(), query, key, value, None, scaling=scaling, packed=packed
    )
    expected = scaled_dot_product_attention(
        query,
        key.repeat_interleave(HEADS // KV_HEADS, dim=1),
        value.repeat_interleave(HEADS // KV_HEADS, dim=1),
        attn_mask=row.mask(torch.float32),
        scale=scaling,
    )
    assert weights is None
    torch.testing.assert_close(output, expected.transpose(1, 2), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("attention", "takes"), [("sdpa", True), ("eager", False)])
def test_only_a_model_with_sdpa_takes_blocks(attention: str, takes: bool) -> None:
    model = toy_llama()
    model.set_attn_implementation(attention)
    assert takes_blocks(model.config) is takes


def test_a_call_without_blocks_is_that_of_transformers(row: Row) -> None:
    query, key, value = random_qkv(9)
    module = torch.nn.Module()
    module.num_key_value_groups = HEADS // KV_HEADS
    module.is_causal = True
    outputs = [
        attend(module, query, key, value, None)[0]
        for attend in (ALL_ATTENTION_FUNCTIONS["sdpa"], sdpa_attention_forward)
    ]
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is packed_attention
    assert torch.equal(*outputs)
