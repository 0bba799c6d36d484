"""Fused norms and rotary embeddings compute what Transformers' own layers do."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from transformers.models.llama import modeling_llama

from dpo_core.ops.fused_layers import fuse_layers
from tests.support.architectures import TOYS, toy

IDS = torch.arange(3, 63).view(2, 30)
# Gemma's norm multiplies by 1 + w and keeps its name for ε; GPT-2 has neither layer.
NORMS = {"llama": 5, "mistral": 5, "qwen2": 5, "qwen3": 9, "phi3": 5}


@pytest.fixture(autouse=True)
def as_it_was() -> Any:
    """The rotary function is Transformers' own again, before and after."""

    def restore() -> None:
        for name, module in list(sys.modules.items()):
            if name.startswith("transformers.models."):
                fused = vars(module).get("apply_rotary_pos_emb")
                if hasattr(fused, "fused_from"):
                    module.apply_rotary_pos_emb = fused.fused_from

    restore()
    yield
    restore()


def passed(model: Any, frozen: bool) -> tuple[Any, dict[str, Any]]:
    """Logits and gradients."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not frozen or "mlp" in name)
    logits = model(input_ids=IDS).logits
    logits.log_softmax(-1)[..., 5].sum().backward()
    return logits, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("model_type", sorted(TOYS))
def test_outputs_and_gradients_are_those_of_transformers(model_type: str, frozen: bool) -> None:
    attention = "eager" if model_type == "gemma2" else "sdpa"
    plain, expected = passed(toy(model_type, attention), frozen)
    model = toy(model_type, attention)
    norms, rotaries = fuse_layers(model)
    assert norms == NORMS.get(model_type, 0)
    assert rotaries == (0 if model_type == "gpt2" else 1)
    fast, mine = passed(model, frozen)
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-5)
    assert set(mine) == set(expected)
    for name, gradient in expected.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(mine[name], gradient, rtol=1e-4, atol=1e-5 * scale)


def test_mixed_precision_stays_with_transformers() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain, expected = passed(toy("llama", "sdpa"), frozen=True)
        model = toy("llama", "sdpa")
        fuse_layers(model)
        fast, mine = passed(model, frozen=True)
    assert fast.dtype == plain.dtype
    for name, gradient in expected.items():
        distance = torch.linalg.norm(mine[name] - gradient)
        assert distance <= 0.05 * torch.linalg.norm(gradient), name


def test_another_formula_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def interleaved(q: Any, k: Any, cos: Any, sin: Any) -> Any:
        return q * cos + q.flip(-1) * sin, k * cos + k.flip(-1) * sin

    class ShiftedRMSNorm(modeling_llama.LlamaRMSNorm):
        def forward(self, hidden_states: Any) -> Any:
            return super().forward(hidden_states) + 1

    monkeypatch.setattr(modeling_llama, "apply_rotary_pos_emb", interleaved)
    model = toy("llama", "sdpa")
    model.model.norm = ShiftedRMSNorm(32)
    assert fuse_layers(model) == (4, 0)
    assert modeling_llama.apply_rotary_pos_emb is interleaved


def test_norms_of_another_precision_are_left_alone() -> None:
    """Tried out, they would be compared with themselves."""
    assert fuse_layers(toy("llama", "sdpa").bfloat16()) == (0, 1)


def test_a_function_that_takes_something_else_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def other(q: Any, angles: Any) -> Any:
        return q * angles

    monkeypatch.setattr(modeling_llama, "apply_rotary_pos_emb", other)
    assert fuse_layers(toy("llama", "sdpa")) == (5, 0)


def test_fusing_twice_is_fusing_once() -> None:
    first, second = toy("llama", "sdpa"), toy("llama", "sdpa")
    assert fuse_layers(first) == fuse_layers(second) == fuse_layers(first) == (5, 1)
    assert not hasattr(modeling_llama.apply_rotary_pos_emb.fused_from, "fused_from")
