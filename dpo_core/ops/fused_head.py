"""Log-probabilities from hidden states, a piece at a time: full logits never exist.

The logits of all answer tokens are the largest tensor of a step (tokens x vocabulary, several
times over). Here they are made for some tokens, reduced and thrown away. With a frozen head the
gradient with respect to a hidden state, W[target] - softmax(logits) W, is known as soon as the
logits are, so it is kept (tokens x hidden) and the backward pass costs no product at all; a trained
head makes its logits again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

PIECE_VALUES = 2**24  # logits that exist at a time: 64 MiB in float32


def answer_logps(hidden: Tensor, head: torch.nn.Linear, targets: Tensor) -> Tensor:
    """log p(target | hidden state) in nats, shape (A,), float32 whatever the compute dtype.

    hidden (A, H), targets (A,). Under autocast the product runs in the autocast dtype.
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
            return _forward(hidden, _cast(weight, dtype), _cast(bias, dtype), targets)
        logps: Tensor = node.apply(hidden, weight, bias, targets)
        return logps


class _FrozenHead(torch.autograd.Function):
    """Keeps W[target] - softmax(logits) W for each token."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Any, targets: Tensor) -> Tensor:
        weight, bias = _cast(weight, hidden.dtype), _cast(bias, hidden.dtype)
        logps, slopes = [], []
        for h, t in zip(*_pieces(weight, hidden, targets), strict=True):
            table = _table(linear(h, weight, bias))
            logps.append(_of_targets(table, t))
            slopes.append(weight[t] - table.exp_().to(weight.dtype) @ weight)
        ctx.save_for_backward(torch.cat(slopes))
        return torch.cat(logps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (slopes,) = ctx.saved_tensors
        return (gradients[0][:, None] * slopes).to(slopes.dtype), None, None, None


class _TrainedHead(torch.autograd.Function):
    """Makes the logits again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Any, targets: Tensor) -> Tensor:
        ctx.save_for_backward(hidden, weight, bias, targets)
        return _forward(hidden, _cast(weight, hidden.dtype), _cast(bias, hidden.dtype), targets)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        hidden, weight, bias, targets = ctx.saved_tensors
        of_hidden, of_weight = [], torch.zeros_like(weight)
        of_bias = None if bias is None else torch.zeros_like(bias)
        weight, bias = _cast(weight, hidden.dtype), _cast(bias, hidden.dtype)
        for h, t, g in zip(*_pieces(weight, hidden, targets, gradients[0]), strict=True):
            slope = _table(linear(h, weight, bias)).exp_().mul_(-g[:, None])
            slope[torch.arange(len(t), device=t.device), t] += g
            slope = slope.to(weight.dtype)
            of_hidden.append(slope @ weight)
            of_weight += slope.T @ h
            if of_bias is not None:
                of_bias += slope.sum(0)
        return torch.cat(of_hidden), of_weight, of_bias, None


def _forward(hidden: Tensor, weight: Tensor, bias: Any, targets: Tensor) -> Tensor:
    pieces = zip(*_pieces(weight, hidden, targets), strict=True)
    return torch.cat([logps_of(linear(h, weight, bias), t) for h, t in pieces])


def _pieces(weight: Tensor, *tensors: Tensor) -> list[Any]:
    """Each tensor in pieces of as many tokens as a hidden state is wide, whose logits are at most
    PIECE_VALUES: with fewer, reading the weight for each piece would cost more than what stays in the
    caches saves."""
    size = max(16, min(weight.shape[1], PIECE_VALUES // weight.shape[0]))
    return [torch.split(tensor, size) for tensor in tensors]


def logps_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-probs of the targets (n,) from logits (n, V), nats, float32."""
    return _of_targets(_table(logits), targets)


def _table(logits: Tensor) -> Tensor:
    """Log-probs of the whole vocabulary (n, V), float32; one fused kernel, unlike logsumexp."""
    # fp32 whatever the model's dtype: bf16 sums lose whole nats on long answers.
    return logits.float().log_softmax(-1)


def _of_targets(table: Tensor, targets: Tensor) -> Tensor:
    return table.gather(-1, targets[:, None])[:, 0]


def _cast(tensor: Any, dtype: torch.dtype) -> Any:
    return None if tensor is None else tensor.detach().to(dtype)
