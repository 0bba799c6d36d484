"""The fused LoRA layer computes what PEFT's does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from dpo_core.ops.fused_lora import fuse_lora
from tests.support.toys import toy_llama

IDS = torch.arange(3, 23)[None]


def adapted(fused: bool, **changes: Any) -> Any:
    settings: dict[str, Any] = {"r": 4, "lora_alpha": 12, "target_modules": "all-linear"}
    torch.manual_seed(0)
    model = get_peft_model(
        toy_llama(attention_bias=True), LoraConfig(**{**settings, **changes})
    ).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    if fused:
        assert fuse_lora(model) == 2 * 7
    return model


@pytest.mark.parametrize("autocast", [False, True])
def test_outputs_and_gradients_are_those_of_peft(autocast: bool) -> None:
    results = []
    for fused in (False, True):
        model = adapted(fused)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            logits = model(input_ids=IDS).logits
        logits.float().log_softmax(-1)[..., 5].sum().backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        results.append((logits, gradients))
    (plain, expected), (fast, mine) = results
    assert fast.dtype == plain.dtype
    tolerance = 0.05 if autocast else 1e-5
    assert torch.linalg.norm(fast - plain) <= tolerance * torch.linalg.norm(plain)
    assert set(mine) == set(expected)
    assert all("lora_" in name for name in mine)
    for name, gradient in expected.items():
        assert mine[name].dtype == torch.float32
        distance = torch.linalg.norm(mine[name] - gradient)
        assert distance <= 2 * tolerance * torch.linalg.norm(gradient), name


def test_a_model_may_change_the_output_of_a_layer_in_place() -> None:
    """Llama 4 adds its experts to the output of the shared one."""
    layer = adapted(fused=True).base_model.model.model.layers[0].mlp.down_proj
    x = torch.randn(2, 3, layer.in_features).transpose(0, 1)
    y = layer(x)
    y.add_(1.0)
    y.sum().backward()
    assert torch.allclose(y - 1, type(layer).forward(layer, x), atol=1e-5)
    assert layer.lora_B["default"].weight.grad is not None


def test_a_disabled_adapter_is_the_base_model() -> None:
    model = adapted(fused=True)
    with model.disable_adapter():
        assert torch.equal(
            model(input_ids=IDS).logits, toy_llama(attention_bias=True)(input_ids=IDS).logits
        )


@pytest.mark.parametrize(
    "changes", [{"lora_dropout": 0.1}, {"use_dora": True}, {"lora_bias": True}]
)
def test_what_is_no_plain_layer_stays_with_peft(changes: dict[str, Any]) -> None:
    assert fuse_lora(adapted(fused=False, **changes)) == 0
