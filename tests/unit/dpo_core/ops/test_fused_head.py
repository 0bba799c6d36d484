"""Log-probs in pieces equal those of full logits, in value and in every gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dpo_core.ops import fused_head as module
from dpo_core.ops.fused_head import answer_logps

TOKENS, HIDDEN, VOCABULARY = 50, 8, 30


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 tokens a piece, so that 50 tokens take four, the last one shorter."""
    monkeypatch.setattr(module, "PIECE_VALUES", 16 * VOCABULARY)


def example(bias: bool) -> tuple[torch.Tensor, torch.nn.Linear, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    head = torch.nn.Linear(HIDDEN, VOCABULARY, bias=bias)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(generator=generator)
    hidden = torch.randn(TOKENS, HIDDEN, generator=generator, requires_grad=True)
    return hidden, head, torch.randint(VOCABULARY, (TOKENS,), generator=generator)


def plainly(hidden: Any, head: Any, targets: Any) -> torch.Tensor:
    table: torch.Tensor = head(hidden).float().log_softmax(-1)
    return table.gather(-1, targets[:, None])[:, 0]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("trained", [False, True])
def test_values_and_gradients(bias: bool, trained: bool) -> None:
    weights = torch.linspace(-1, 2, TOKENS)
    results = []
    for logps in (answer_logps, plainly):
        hidden, head, targets = example(bias)
        head.requires_grad_(trained)
        value = logps(hidden, head, targets)
        (value * weights).sum().backward()
        results.append([value, hidden.grad, *(p.grad for p in head.parameters() if trained)])
    for mine, expected in zip(*results, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-5)


def test_without_gradients_the_same_values() -> None:
    hidden, head, targets = example(bias=True)
    with_gradients = answer_logps(hidden, head, targets)
    with torch.no_grad():
        assert torch.equal(answer_logps(hidden, head, targets), with_gradients)


def test_no_more_logits_than_a_piece_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    original = module._log_softmax
    monkeypatch.setattr(module, "_log_softmax", lambda z: sizes.append(z.numel()) or original(z))
    hidden, head, targets = example(bias=False)
    answer_logps(hidden, head, targets).sum().backward()
    assert max(sizes) == module.PIECE_VALUES
    assert sum(sizes) == 2 * TOKENS * VOCABULARY  # once forward, and again for the trained head


def test_half_precision_is_reduced_in_float32() -> None:
    hidden, head, targets = example(bias=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logps = answer_logps(hidden, head.requires_grad_(False), targets)
    assert logps.dtype == torch.float32
    torch.testing.assert_close(logps, plainly(hidden, head, targets), rtol=0, atol=0.1)
    logps.sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.dtype == torch.float32
