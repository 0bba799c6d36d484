"""PEFT's LoRA layer as one autograd node: y = x Wᵀ + s (x Aᵀ) Bᵀ, added up in place.

PEFT composes it of five operations, each of which writes (and keeps) a tensor as large as the
layer's output; for small models that costs about a tenth of a step. Only `forward` is replaced, on
plain layers: an unmerged adapter of float32 weights without dropout, variants or bias.
"""

from __future__ import annotations

from types import MethodType
from typing import Any, Protocol

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn

from dpo_core.ops.autograd_context import AutogradContext


class _LoraContext(AutogradContext, Protocol):
    """The context of `_Lora`, which keeps two values beside its tensors."""

    scale: float
    shape: torch.Size


def fuse_lora(model: nn.Module) -> int:
    """Replace `forward` of every plain LoRA layer of `model`; return how many there are."""
    layers = [m for m in model.modules() if isinstance(m, Linear) and _is_plain(m)]
    for layer in layers:
        layer.forward = MethodType(_forward, layer)
    return len(layers)


def _is_plain(layer: Linear) -> bool:
    base = layer.get_base_layer()
    active = layer.active_adapters
    return (
        type(layer) is Linear
        and type(base) is nn.Linear
        and not base.weight.requires_grad
        and len(active) == 1
        and active[0] not in layer.lora_variant
        and isinstance(layer.lora_dropout[active[0]], nn.Identity)
        and layer.lora_B[active[0]].bias is None
    )


def _forward(layer: Linear, x: Tensor, *args: object, **kwargs: object) -> Tensor:
    if layer.disable_adapters or layer.merged or args or kwargs:
        output: Tensor = type(layer).forward(layer, x, *args, **kwargs)
        return output
    name, base = layer.active_adapters[0], layer.get_base_layer()
    device = x.device.type
    enabled = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if enabled else x.dtype
    weights = base.weight, layer.lora_A[name].weight, layer.lora_B[name].weight
    node: Any = _Lora
    fused: Tensor = node.apply(
        x.to(dtype), *(w.to(dtype) for w in weights), base.bias, layer.scaling[name]
    )
    return fused


class _Lora(torch.autograd.Function):
    """The layer y = x Wᵀ + bias + s (x Aᵀ) Bᵀ with W frozen (LoRA, arXiv:2106.09685, Eq. 3)."""

    @staticmethod
    def forward(
        ctx: _LoraContext,
        x: Tensor,
        weight: Tensor,
        a: Tensor,
        b: Tensor,
        bias: Tensor | None,
        scale: float,
    ) -> Tensor:
        """Compute y.

        Args:
            ctx: Receives x, the weights, s (x Aᵀ), s and the shape of x.
            x: (…, in), in the compute dtype; so are the weights.
            weight: W, (out, in).
            a: A, (r, in).
            b: B, (out, r).
            bias: (out,), or None.
            scale: s = α / r.

        Returns:
            y, (…, out).
        """
        rows = x.reshape(-1, x.shape[-1])
        low = (rows @ a.T).mul_(scale)
        y = rows.new_empty(*x.shape[:-1], len(weight))  # no view: a model may change it in place
        torch.mm(rows, weight.T, out=y.view(-1, len(weight))).addmm_(low, b.T)
        if bias is not None:
            y += bias
        ctx.save_for_backward(rows, weight, a, b, low)
        ctx.scale, ctx.shape = scale, x.shape
        return y

    @staticmethod
    def backward(
        ctx: _LoraContext, *gradients: Tensor
    ) -> tuple[Tensor | None, None, Tensor, Tensor, None, None]:
        """Compute the gradients by x (where it is needed), A and B.

        Args:
            ctx: What `forward` kept.
            gradients: ∂L/∂y, (…, out).

        Returns:
            One gradient per argument of `forward`: (…, in) or None by x, (r, in) by A, (out, r) by
            B, None for the others.
        """
        rows, weight, a, b, low = ctx.saved_tensors
        g = gradients[0].reshape(len(rows), -1).to(rows.dtype)
        low_gradient = (g @ b).mul_(ctx.scale)
        x_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = g @ weight
            x_gradient.addmm_(low_gradient, a)
            x_gradient = x_gradient.view(ctx.shape)
        return x_gradient, None, low_gradient.T @ rows, g.T @ low, None, None
