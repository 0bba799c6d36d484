"""Log-probabilities from hidden states, a piece at a time: full logits never exist.

The logits of all answer tokens are the largest tensor of a step (tokens x vocabulary, several
times over). Here they are computed for some tokens, reduced and thrown away. With a frozen head the
gradient with respect to a hidden state, W[target] - softmax(logits) W, is known as soon as the
logits are, so it is kept (tokens x hidden) and the backward pass costs no product at all; a trained
head computes its logits again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from dpo_core.ops.autograd_context import AutogradContext

PIECE_VALUES = 2**24  # logits that exist at a time: 64 MiB in float32


def answer_logps(hidden: Tensor, head: torch.nn.Linear, targets: Tensor) -> Tensor:
    """Compute log p(target | hidden state) of answer tokens without their full logits.

    Under autocast the product with the head's weight runs in the autocast dtype.

    Args:
        hidden: Hidden states at the positions that predict the answer tokens, (A, H).
        head: The model's output layer, weight (V, H), bias (V,) or none.
        targets: Token ids of the answers, (A,).

    Returns:
        Log-probabilities in nats, (A,), float32 whatever the compute dtype. Differentiable with
        respect to `hidden`, and to the head's parameters where they are trained.
    """
    device = hidden.device.type
    autocast = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if autocast else head.weight.dtype
    hidden, weight, bias = hidden.to(dtype), head.weight, head.bias
    with torch.autocast(device, enabled=False):
        if torch.is_grad_enabled() and weight.requires_grad:
            node: Any = _TrainedHead
        elif torch.is_grad_enabled() and hidden.requires_grad:
            node = _FrozenHead
        else:
            return _forward(hidden, _cast(weight, dtype), _cast_bias(bias, dtype), targets)
        logps: Tensor = node.apply(hidden, weight, bias, targets)
        return logps


class _FrozenHead(torch.autograd.Function):
    """A head without gradients of its own; keeps W[target] - softmax(logits) W for each token."""

    @staticmethod
    def forward(
        ctx: AutogradContext, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor
    ) -> Tensor:
        """Compute the log-probabilities, and already their gradient by hidden state.

        Args:
            ctx: Receives the gradients by hidden state, (A, H).
            hidden: (A, H), in the dtype of the product.
            weight: (V, H).
            bias: (V,), or None.
            targets: (A,).

        Returns:
            Log-probabilities in nats, (A,), float32.
        """
        weight, bias = _cast(weight, hidden.dtype), _cast_bias(bias, hidden.dtype)
        logps, slopes = [], []
        for h, t in zip(*_pieces(weight, hidden, targets), strict=True):
            table = _log_softmax(linear(h, weight, bias))
            logps.append(_of_targets(table, t))
            slopes.append(weight[t] - table.exp_().to(weight.dtype) @ weight)
        ctx.save_for_backward(torch.cat(slopes))
        return torch.cat(logps)

    @staticmethod
    def backward(ctx: AutogradContext, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Scale the kept gradients.

        Args:
            ctx: What `forward` kept.
            gradients: The gradient by log-probability, (A,).

        Returns:
            One gradient per argument of `forward`: (A, H) by hidden state, None for the others.
        """
        (slopes,) = ctx.saved_tensors
        return (gradients[0][:, None] * slopes).to(slopes.dtype), None, None, None


class _TrainedHead(torch.autograd.Function):
    """A head that is trained; computes the logits again in the backward pass."""

    @staticmethod
    def forward(
        ctx: AutogradContext, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor
    ) -> Tensor:
        """Compute the log-probabilities.

        Args:
            ctx: Receives the arguments.
            hidden: (A, H), in the dtype of the product.
            weight: (V, H).
            bias: (V,), or None.
            targets: (A,).

        Returns:
            Log-probabilities in nats, (A,), float32.
        """
        ctx.save_for_backward(hidden, weight, bias, targets)
        dtype = hidden.dtype
        return _forward(hidden, _cast(weight, dtype), _cast_bias(bias, dtype), targets)

    @staticmethod
    def backward(
        ctx: AutogradContext, *gradients: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, None]:
        """Compute the logits again, piece by piece, and from them the gradients.

        Args:
            ctx: What `forward` kept.
            gradients: The gradient by log-probability, (A,).

        Returns:
            One gradient per argument of `forward`: (A, H) by hidden state, (V, H) by weight, (V,)
            by bias (None without one), None for the targets.
        """
        hidden, weight, saved_bias, targets = ctx.saved_tensors
        hidden_gradient, weight_gradient = [], torch.zeros_like(weight)
        bias_gradient = None if saved_bias is None else torch.zeros_like(saved_bias)
        weight, bias = _cast(weight, hidden.dtype), _cast_bias(saved_bias, hidden.dtype)
        for h, t, g in zip(*_pieces(weight, hidden, targets, gradients[0]), strict=True):
            slope = _log_softmax(linear(h, weight, bias)).exp_().mul_(-g[:, None])
            slope[torch.arange(len(t), device=t.device), t] += g
            slope = slope.to(weight.dtype)
            hidden_gradient.append(slope @ weight)
            weight_gradient += slope.T @ h
            if bias_gradient is not None:
                bias_gradient += slope.sum(0)
        return torch.cat(hidden_gradient), weight_gradient, bias_gradient, None


def _forward(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    pieces = zip(*_pieces(weight, hidden, targets), strict=True)
    return torch.cat([logps_of(linear(h, weight, bias), t) for h, t in pieces])


def _pieces(weight: Tensor, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Split each tensor into pieces of as many tokens as a hidden state is wide, whose logits are at
    most PIECE_VALUES. With fewer tokens, reading the weight again for each piece would cost more
    than the caches save."""
    size = max(16, min(weight.shape[1], PIECE_VALUES // weight.shape[0]))
    return [torch.split(tensor, size) for tensor in tensors]


def logps_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the log-probs of the targets (n,) from logits (n, V), in nats, float32."""
    return _of_targets(_log_softmax(logits), targets)


def _log_softmax(logits: Tensor) -> Tensor:
    """Return log-probs of the whole vocabulary (n, V), float32; one fused kernel, unlike logsumexp."""
    # fp32 whatever the model's dtype: bf16 sums lose whole nats on long answers.
    return logits.float().log_softmax(-1)


def _of_targets(table: Tensor, targets: Tensor) -> Tensor:
    return table.gather(-1, targets[:, None])[:, 0]


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.detach().to(dtype)


def _cast_bias(bias: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if bias is None else _cast(bias, dtype)
