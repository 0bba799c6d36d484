"""A model with weights of half precision scores in float32, and is itself again afterwards."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from dpo_core.encoding.packing import pack_rows
from dpo_core.models.load import load_model
from dpo_core.ops.fused_lora import fuse_lora
from dpo_core.scoring.logprobs import head_is_last, score_pairs, score_rows
from dpo_core.scoring.precision import scoring_precision, upcast_weights
from dpo_core.scoring.row_layout import RowLayout
from dpo_core.settings import ModelSettings
from tests.support.architectures import TOYS, toy
from tests.support.toys import toy_encoded, toy_llama

PAIRS = toy_encoded(8)
CASES = [
    (model_type, attention, layout)
    for model_type in sorted(TOYS)
    for attention, layout in (
        ("sdpa", RowLayout.PACKED),
        ("sdpa", RowLayout.MASKED),
        ("eager", RowLayout.MASKED),
    )
    if model_type != "gemma2" or attention == "eager"
]


def chosen(model: Any, layout: RowLayout = RowLayout.PACKED) -> torch.Tensor:
    return score_pairs(model, PAIRS, 96, layout).chosen


def rounded(model: Any) -> tuple[Any, Any]:
    """The model in bfloat16, and a copy in float32 with the same rounded weights."""
    half = model.bfloat16()
    return half, copy.deepcopy(half).float()


@pytest.mark.parametrize(
    ("model_type", "attention", "layout"),
    [*CASES, *((model_type, "eager", RowLayout.PLAIN) for model_type in sorted(TOYS))],
)
def test_scores_are_those_of_the_same_weights_in_float32(
    model_type: str, attention: str, layout: RowLayout
) -> None:
    half, whole = rounded(toy(model_type, attention))
    expected = chosen(whole, layout)
    with upcast_weights(half):
        scored = chosen(half, layout)
    torch.testing.assert_close(scored, expected, rtol=0, atol=2e-5)
    assert (chosen(half, layout) - expected).abs().max() > 1e-3, "or bfloat16 would do"


def test_experts_are_upcast_with_their_layer() -> None:
    """Their weights are parameters of one module, which a router picks from."""
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 400}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4}
    model = MixtralForCausalLM(MixtralConfig(**sizes, **heads, initializer_range=0.1)).eval()
    half, whole = rounded(model)
    with upcast_weights(half):
        scored = chosen(half, RowLayout.PLAIN)
    torch.testing.assert_close(scored, chosen(whole, RowLayout.PLAIN), rtol=0, atol=2e-5)


@pytest.mark.parametrize("fused", [True, False])
def test_under_an_adapter_too(fused: bool) -> None:
    model = get_peft_model(
        toy_llama().bfloat16(), LoraConfig(r=4, target_modules="all-linear")
    ).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    whole = copy.deepcopy(model).float()
    if fused:
        assert fuse_lora(model) > 0
    with upcast_weights(model):
        scored = chosen(model)
    torch.testing.assert_close(scored, chosen(whole), rtol=0, atol=2e-5)


def test_the_weights_come_back_as_they_were() -> None:
    model = toy_llama().bfloat16()
    before = {name: (p, p.data_ptr(), p.clone()) for name, p in model.named_parameters()}
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    with upcast_weights(model):
        chosen(model)
    for name, parameter in model.named_parameters():
        same, address, value = before[name]
        assert parameter is same
        assert parameter.data_ptr() == address
        assert torch.equal(parameter, value)
    assert hooks == sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_after_an_error_in_a_layer_as_well() -> None:
    model = toy_llama().bfloat16()

    def fail(*_: Any) -> None:
        raise MemoryError

    handle = model.model.layers[1].mlp.register_forward_hook(fail)
    with pytest.raises(MemoryError), upcast_weights(model):
        chosen(model)
    handle.remove()
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_one_layer_at_a_time_is_upcast() -> None:
    model = toy_llama().bfloat16()
    seen: list[list[bool]] = []

    def look(*_: Any) -> None:
        layers = model.model.layers
        seen.append([all(p.dtype == torch.float32 for p in each.parameters()) for each in layers])

    for layer in model.model.layers:
        layer.mlp.register_forward_hook(look)
    assert head_is_last(model)  # measured by a pass of its own, once
    seen.clear()
    with upcast_weights(model):
        score_rows(model, pack_rows(PAIRS[:1], 96), RowLayout.PACKED)
        assert model.dtype == torch.float32
    assert seen == [[True, False], [False, True]]


@pytest.mark.parametrize("adapter", [True, False])
def test_float32_scores_stay_float32_while_the_settings_compute_in_bfloat16(
    toy_model: Path, adapter: bool
) -> None:
    settings = ModelSettings(
        path=str(toy_model), dtype="bfloat16", **({} if adapter else {"adapter": None})
    )
    model, whole = load_model(settings), load_model(ModelSettings(path=str(toy_model)))
    if adapter:  # frozen weights are loaded in bfloat16, and so are rounded
        whole.load_state_dict({n: t.bfloat16() for n, t in whole.state_dict().items()})
    autocast = torch.autocast("cpu", dtype=torch.bfloat16)  # what Accelerate has around `forward`
    with autocast, scoring_precision(model, settings, "float32"):
        scored = chosen(model)
    torch.testing.assert_close(scored, chosen(whole), rtol=0, atol=2e-5)


def test_the_models_dtype_is_that_of_the_settings(toy_model: Path) -> None:
    settings = ModelSettings(path=str(toy_model), dtype="bfloat16")
    model = load_model(settings)
    with scoring_precision(model, settings, "bfloat16"):
        assert torch.is_autocast_enabled("cpu")
        inside = chosen(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(inside, chosen(model))


def test_float32_models_are_left_alone(toy_model: Path) -> None:
    settings = ModelSettings(path=str(toy_model))
    model = load_model(settings)
    expected = chosen(model)
    with scoring_precision(model, settings, "float32"):
        assert not any(m._forward_pre_hooks for m in model.modules())
        assert torch.equal(chosen(model), expected)
