"""Tiny random models of every decoder family that Transformers has: two layers, a few thousand weights.

Configs name the same size differently, so each gets those of `_SIZES` that its class knows; what a
family needs beside them stands in `_OF_FAMILY`.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tests.support.toys import VOCABULARY

MAX_POSITIONS = 256


def family_names() -> list[str]:
    """Every model type that Transformers calls a causal language model, encoders among them."""
    return list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def tiny_config(model_type: str, **changes: Any) -> Any:
    """The config of a tiny model; `changes` go to it last."""
    sizes = _sizes_of_parts(model_type) or _sizes(model_type)
    return AutoConfig.for_model(model_type, **{**sizes, **changes})


def tiny_decoder(model_type: str, attention: str | None = None, **changes: Any) -> Any:
    """A tiny model in float32 and eval mode, with the family's own attention unless one is named."""
    config = tiny_config(model_type, **changes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    return model.float().eval()


def parameters_of(config: Any) -> int:
    """The weights of a model, counted without building it."""
    with torch.device("meta"):
        return sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())


def _sizes_of_parts(model_type: str) -> dict[str, Any]:
    """The sizes of a text model with towers for images or sound; nothing for a text model alone."""
    default = AutoConfig.for_model(model_type)
    parts = {n: v for n, v in vars(default).items() if isinstance(v, PretrainedConfig)}
    if "text_config" not in parts:
        return {}
    sizes = {}
    for name, part in parts.items():
        cls = type(part)
        own = {k: v for k, v in _TOWER_SIZES.items() if _takes(cls, part, k)}
        own = _sizes(part.model_type) if name == "text_config" else own
        sizes[name] = {**own, "model_type": part.model_type}
    return sizes


def _sizes(model_type: str) -> dict[str, Any]:
    cls, default = CONFIG_MAPPING[model_type], AutoConfig.for_model(model_type)
    sizes = {name: value for name, value in _SIZES.items() if _takes(cls, default, name)}
    if hasattr(default, "qk_rope_head_dim"):  # latent attention: as many key heads, of two widths
        sizes.pop("head_dim", None)
        sizes["num_key_value_heads"] = sizes["num_attention_heads"]
    kinds = list(dict.fromkeys(getattr(default, "layer_types", None) or ()))
    if kinds and not isinstance(getattr(cls, "layer_types", None), property):
        sizes["layer_types"] = (kinds * 2)[:2]
    own = _OF_FAMILY.get(model_type, {})
    return {name: value for name, value in {**sizes, **own}.items() if value is not None}


def _takes(cls: Any, default: Any, name: str) -> bool:
    descriptor = getattr(cls, name, None)
    if isinstance(descriptor, property):
        return descriptor.fset is not None
    try:
        return hasattr(default, name)
    except RuntimeError:  # the class gives each layer a value of its own
        return True


_SIZES: dict[str, Any] = {
    # Wider than the default 0.02, so that a wrong row shows.
    "initializer_range": 0.1,
    "vocab_size": VOCABULARY,
    "vocab_size_per_layer_input": VOCABULARY,
    "pad_token_id": 2,  # these three as the toy tokenizer has them
    "bos_token_id": 1,
    "eos_token_id": 2,
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer", "n_layers"), 2),
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "embedding_size"), 32),
    "word_embed_proj_dim": 32,
    **dict.fromkeys(("intermediate_size", "intermediate_size_mlp", "ffn_dim", "n_inner"), 64),
    "ffn_hidden_size": 64,
    **dict.fromkeys(("num_attention_heads", "num_heads", "n_head", "n_heads"), 4),
    "num_key_value_heads": 2,
    **dict.fromkeys(("head_dim", "attention_head_dim", "query_pre_attn_scalar", "v_head_dim"), 8),
    "hidden_size_per_layer_input": 8,
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), MAX_POSITIONS),
    # Experts.
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16),
    "num_experts_per_tok": 2,
    **dict.fromkeys(("n_shared_experts", "n_group", "topk_group", "num_attention_groups"), 1),
    "first_k_dense_replace": 1,
    # Latent attention.
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim"), 8),
    "qk_rope_head_dim": 4,
    # State spaces and linear attention.
    "state_size": 4,
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_d_state": 8,
    "mamba_n_groups": 1,
    "mamba_d_ssm": 64,
    "mamba_chunk_size": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8),
}

_TOWER_SIZES: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "embed_dim", "out_hidden_size", "vision_output_dim"), 32),
    **dict.fromkeys(("projector_input_dim", "projector_output_dim"), 32),
    **dict.fromkeys(("intermediate_size", "mlp_dim"), 64),
    **dict.fromkeys(("num_attention_heads", "num_heads"), 4),
    **dict.fromkeys(("num_hidden_layers", "depth"), 1),
    "image_size": 28,
    "patch_size": 14,
}

# None takes a size away.
_OF_FAMILY: dict[str, dict[str, Any]] = {
    "bamba": {"layer_types": None, "attn_layer_indices": [1]},
    "codegen": {"rotary_dim": 8, "n_ctx": MAX_POSITIONS},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 1e4},
        "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "falcon": {"num_kv_heads": 2, "new_decoder_architecture": True, "alibi": False},
    "falcon_h1": {"layer_types": None},
    "gemma3n_text": {
        "layer_types": ["sliding_attention", "full_attention"],
        "num_kv_shared_layers": 0,
        "laurel_rank": 8,
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": MAX_POSITIONS},
    "gptj": {"rotary_dim": 8},
    "jamba": {
        "attn_layer_offset": 1,
        "attn_layer_period": 2,
        "expert_layer_offset": 1,
        "expert_layer_period": 2,
        "use_mamba_kernels": False,
    },
    "kimi_linear": {
        "layer_types": ["linear_attention", "full_attention"],
        "mlp_layer_types": ["dense", "sparse"],
        "linear_head_dim": 8,
        "linear_num_heads": 4,
        "num_experts_per_token": 2,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "llama4_text": {
        "layer_types": ["chunked_attention", "full_attention"],
        "attention_chunk_size": MAX_POSITIONS,
        "no_rope_layers": [1, 0],
        "interleave_moe_layer_step": 1,
    },
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 16, "expand": 2},
    "nemotron_h": {
        "layer_types": None,
        "layers_block_type": ["mamba", "attention"],
        "mamba_num_heads": 4,
        "mamba_head_dim": 16,
        "n_groups": 1,
        "chunk_size": 16,
        "ssm_state_size": 8,
    },
    "recurrent_gemma": {
        "layer_types": None,
        "block_types": ["recurrent", "attention"],
        "lru_width": 32,
    },
    "xlstm": {"chunk_size": 16},
    "zamba2": {
        "layer_types": None,
        "layers_block_type": ["mamba", "hybrid"],
        "num_mem_blocks": 1,
    },
}
