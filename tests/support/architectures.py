"""Tiny random models of several architectures."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.support.toys import VOCABULARY

# What else a toy of that architecture needs. Gemma's layers alternate between full and windowed
# attention, so both kinds are there.
TOYS: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"head_dim": 8, "sliding_window": 200},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "phi3": {},
    "gemma": {"head_dim": 8},
    "gemma2": {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 200},
    "gemma3_text": {
        "head_dim": 8,
        "query_pre_attn_scalar": 8,
        "sliding_window": 200,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "gpt2": {},
}


def toy(model_type: str, attention: str = "sdpa") -> Any:
    config = AutoConfig.for_model(model_type, **_SIZES, **TOYS[model_type])
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    return model.float().eval()


_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "initializer_range": 0.1,
}
