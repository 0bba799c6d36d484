"""RMS norm and rotary embedding as one autograd node each, with the numbers of Transformers' own.

Transformers composes them of operations that each write, and keep, a tensor as large as the layer's
output; rotating halves by slices adds a gradient of zeros for each slice. A layer or function is
replaced only if it computes the formula below on a test input, and a norm only in float32.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import MethodType, ModuleType
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from dpo_core.ops.autograd_context import AutogradContext

_ROTARY = "apply_rotary_pos_emb"
Rotate = Callable[..., tuple[Tensor, Tensor]]


class _NormLayer(Protocol):
    """The names that Transformers gives to weight (H,) and ε of an RMS norm."""

    weight: Tensor
    variance_epsilon: float

    def forward(self, x: Tensor) -> Tensor: ...


def fuse_layers(model: nn.Module) -> tuple[int, int]:
    """Replace the norms of `model`, and the rotary function in the modules that define its layers.

    Args:
        model: A model of Transformers, with frozen or trained weights; it is changed in place.

    Returns:
        How many norms are fused now, and how many modules' rotary functions.
    """
    norms = [layer for layer in model.modules() if _is_plain_norm(layer)]
    for layer in norms:
        layer.forward = MethodType(_norm_forward, layer)
    modules = {type(layer).__module__ for layer in model.modules()}
    return len(norms), sum(_fuse_rotary(sys.modules.get(name)) for name in sorted(modules))


def _is_plain_norm(layer: nn.Module) -> bool:
    if not type(layer).__name__.endswith("RMSNorm") or not hasattr(layer, "variance_epsilon"):
        return False
    norm = cast(_NormLayer, layer)
    if norm.weight.dtype != torch.float32:
        return False
    x = torch.linspace(-2, 3, norm.weight.numel(), device=norm.weight.device)
    with torch.no_grad():
        return torch.equal(type(norm).forward(norm, x), _norm_forward(norm, x))


def _norm_forward(layer: _NormLayer, x: Tensor) -> Tensor:
    if x.dtype != torch.float32 or layer.weight.dtype != torch.float32:
        output: Tensor = type(layer).forward(layer, x)
        return output
    node: Any = _RMSNorm
    fused: Tensor = node.apply(x, layer.weight, layer.variance_epsilon)
    return fused


class _RMSNorm(torch.autograd.Function):
    """The norm y = w x / √(mean x² + ε), over the last dimension."""

    @staticmethod
    def forward(ctx: AutogradContext, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """Compute y.

        Args:
            ctx: Receives x, the weight and 1 / √(mean x² + ε).
            x: (…, H), float32.
            weight: w, (H,), float32.
            epsilon: ε.

        Returns:
            y, the shape of x.
        """
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon)
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight)

    @staticmethod
    def backward(ctx: AutogradContext, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None]:
        """Compute the gradients by x and, where it is trained, by weight.

        With s = 1 / √(mean x² + ε) and g = w ∂L/∂y:  ∂L/∂x = s g − x s³ Σ(g x) / H.

        Args:
            ctx: What `forward` kept.
            gradients: ∂L/∂y, (…, H).

        Returns:
            One gradient per argument of `forward`: (…, H), (H,) or None, None.
        """
        x, weight, scale = ctx.saved_tensors
        weight_gradient = None
        if ctx.needs_input_grad[1]:
            weight_gradient = (gradients[0] * x).mul_(scale).flatten(0, -2).sum(0)
        g = gradients[0] * weight
        x_factor = (g * x).sum(-1, keepdim=True).mul_(scale.pow(3)).div_(-x.shape[-1])
        return g.mul_(scale).addcmul_(x, x_factor), weight_gradient, None


def _fuse_rotary(module: ModuleType | None) -> bool:
    """Replace the module's rotary function; return whether it is fused now."""
    original = getattr(module, _ROTARY, None)
    if original is None:
        return False
    if not hasattr(original, "fused_from"):
        if not _is_plain_rotary(original):
            return False
        setattr(module, _ROTARY, _fused_rotary(original))
    return True


def _is_plain_rotary(original: Rotate) -> bool:
    q, k = torch.linspace(-2, 3, 48).view(1, 2, 3, 8), torch.linspace(1, 4, 24).view(1, 1, 3, 8)
    angles = torch.linspace(0, 6, 24).view(1, 3, 8)
    arguments = q, k, angles.cos(), angles.sin()
    try:
        expected = original(*arguments)
    except Exception:  # a function that takes other arguments may raise anything
        return False
    fused = _fused_rotary(original)(*arguments)
    return all(
        torch.allclose(a, b, rtol=0, atol=1e-6) for a, b in zip(fused, expected, strict=True)
    )


def _fused_rotary(original: Rotate) -> Rotate:
    node: Any = _Rotary

    def rotary(
        q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *others: object, **options: object
    ) -> tuple[Tensor, Tensor]:
        """Rotate queries and keys; a call of any other form goes to the original function.

        Args:
            q: (n, heads, T, d).
            k: (n, kv heads, T, d).
            cos: (n, T, d).
            sin: (n, T, d).
            others: Arguments that only the original understands.
            options: Likewise, by name.

        Returns:
            Rotated q and k, each of the shape it came in.
        """
        same = all(x.dtype == cos.dtype and x.shape[-1] == cos.shape[-1] for x in (q, k))
        if others or options or not same or cos.dim() != 3 or cos.requires_grad:
            return original(q, k, cos, sin, *others, **options)
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        return node.apply(q, cos, sin), node.apply(k, cos, sin)

    rotary.fused_from = original  # type: ignore[attr-defined]
    return rotary


class _Rotary(torch.autograd.Function):
    """The rotation x cos θ + (−x₂, x₁) sin θ, where x₁ and x₂ are the halves of x.

    The gradient is rotated by the same angles the other way round.
    """

    @staticmethod
    def forward(ctx: AutogradContext, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotate x.

        Args:
            ctx: Receives cos and sin.
            x: (n, heads, T, d).
            cos: (n, 1, T, d).
            sin: (n, 1, T, d).

        Returns:
            The rotated x, (n, heads, T, d).
        """
        ctx.save_for_backward(cos, sin)
        (x1, x2), (s1, s2) = x.chunk(2, -1), sin.chunk(2, -1)
        y = x * cos
        y1, y2 = y.chunk(2, -1)
        y1.addcmul_(x2, s1, value=-1)
        y2.addcmul_(x1, s2)
        return y

    @staticmethod
    def backward(ctx: AutogradContext, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Rotate the gradient back.

        Args:
            ctx: What `forward` kept.
            gradients: The gradient by the rotated x, (n, heads, T, d).

        Returns:
            One gradient per argument of `forward`: by x, None for cos and sin.
        """
        cos, sin = ctx.saved_tensors
        (g1, g2), (s1, s2) = gradients[0].chunk(2, -1), sin.chunk(2, -1)
        x_gradient = gradients[0] * cos
        first, second = x_gradient.chunk(2, -1)
        first.addcmul_(g2, s2)
        second.addcmul_(g1, s1, value=-1)
        return x_gradient, None, None
