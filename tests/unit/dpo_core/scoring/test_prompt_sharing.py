"""Prompts are shared where that is exact, and the reason is given where it is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from dpo_core.encoding.token_table import EncodedPair
from dpo_core.scoring.prompt_sharing import why_not_shared
from tests.support.toys import VOCABULARY, toy_encoded, toy_llama

PAIRS = toy_encoded(6)


def of_tokens(count: int) -> EncodedPair:
    """Prompt and longer answer together have `count` tokens."""
    return EncodedPair("long", tuple(range(3, count)), (5, 6), (7, 8, 9))


def test_a_plain_transformer_shares() -> None:
    assert why_not_shared(toy_llama(), PAIRS) is None


def test_lower_precision_has_noise_of_its_own() -> None:
    assert why_not_shared(toy_llama().bfloat16(), PAIRS) is None


@pytest.mark.parametrize(
    ("model_type", "sizes"),
    [
        ("mamba", {"hidden_size": 32, "state_size": 4, "num_hidden_layers": 2}),
        ("bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4}),  # ALiBi: it knows no positions
    ],
)
def test_other_architectures_are_found_out(model_type: str, sizes: dict[str, Any]) -> None:
    config = AutoConfig.for_model(
        model_type, vocab_size=VOCABULARY, initializer_range=0.3, pad_token_id=0, **sizes
    )
    torch.manual_seed(0)
    reason = why_not_shared(AutoModelForCausalLM.from_config(config).eval(), PAIRS)
    assert reason is not None
    assert "differ by up to" in reason or "refuses packed rows" in reason


@pytest.mark.parametrize(("tokens", "shares"), [(60, True), (61, False)])
def test_a_pair_beyond_the_attention_window_is_not_shared(tokens: int, shares: bool) -> None:
    config = AutoConfig.for_model(
        "mistral",
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=60,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    reason = why_not_shared(model, [*PAIRS, of_tokens(tokens)])
    assert (reason is None) is shares
    assert shares or reason == "a pair of 61 tokens is longer than the attention window of 60"


@pytest.mark.parametrize(("tokens", "shares"), [(64, True), (65, False)])
def test_rope_that_looks_at_the_longest_position_is_not_shared(tokens: int, shares: bool) -> None:
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    model = toy_llama(max_position_embeddings=64, rope_parameters=rope)
    reason = why_not_shared(model, [*PAIRS, of_tokens(tokens)])
    assert (reason is None) is shares
    assert shares or "dynamic RoPE" in str(reason)
