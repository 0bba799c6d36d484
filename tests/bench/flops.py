"""The fewest floating-point operations a DPO step needs: the floor that a measured step is held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """What of a decoder decides its operations. Parameters of matrix products only."""

    body: int  # parameters in the products of all layers
    head: int  # vocabulary · hidden
    layers: int
    attention_width: int  # heads · head size


@dataclass(frozen=True)
class PairTokens:
    """Tokens of the prompt and of both answers of one pair."""

    prompt: int
    chosen: int
    rejected: int


def step_flops(shape: Shape, pairs: Sequence[PairTokens], *, full: bool) -> float:
    """Floating-point operations of one training step over `pairs`, each prompt run once.

    A parameter costs 2 a token forward and 2 backward for the activation, and 2 more for its own
    gradient when it is trained (`full`). Under LoRA the adapter's own products, some per cent, are
    left out, as are norms, activations, softmax and the optimizer: a floor may be too low only.
    """
    per_parameter = 6 if full else 4
    tokens = sum(p.prompt + p.chosen + p.rejected for p in pairs)
    answers = sum(p.chosen + p.rejected for p in pairs)
    # Queries by keys and weights by values: 2 · 2 a visible pair of tokens forward. All of these
    # operands are activations, so the way back costs twice that, adapter or not.
    seen = sum(visible(p) for p in pairs)
    attention = 12.0 * shape.layers * shape.attention_width * seen
    return per_parameter * (shape.body * tokens + shape.head * answers) + attention


def visible(pair: PairTokens) -> float:
    """(query, key) pairs of tokens that the mask lets through, each answer after the same prompt."""

    def triangle(n: int) -> float:
        return n * (n + 1) / 2

    p, c, r = pair.prompt, pair.chosen, pair.rejected
    return triangle(p) + (p * c + triangle(c)) + (p * r + triangle(r))
