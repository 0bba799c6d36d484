"""Prompts are shared where that is exact, and the reason is given where it is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from dpo_core.encoding.packing import Row
from dpo_core.encoding.token_table import EncodedPair
from dpo_core.scoring import prompt_sharing as module
from dpo_core.scoring.logprobs import token_logps_unshared
from dpo_core.scoring.prompt_sharing import why_not_shared
from tests.support.toys import VOCABULARY, toy_encoded, toy_llama

PAIRS = toy_encoded(6)


def of_tokens(count: int) -> EncodedPair:
    """Prompt and longer answer together have `count` tokens."""
    return EncodedPair("long", tuple(range(3, count)), (5, 6), (7, 8, 9))


def test_a_plain_transformer_shares() -> None:
    assert why_not_shared(toy_llama(), PAIRS) is None


def test_lower_precision_has_noise_of_its_own() -> None:
    assert why_not_shared(toy_llama().bfloat16(), PAIRS) is None


@pytest.mark.parametrize(
    ("model_type", "sizes"),
    [
        ("mamba", {"hidden_size": 32, "state_size": 4, "num_hidden_layers": 2}),
        ("bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4}),  # ALiBi: it knows no positions
    ],
)
def test_other_architectures_are_found_out(model_type: str, sizes: dict[str, Any]) -> None:
    config = AutoConfig.for_model(
        model_type, vocab_size=VOCABULARY, initializer_range=0.3, pad_token_id=0, **sizes
    )
    torch.manual_seed(0)
    reason = why_not_shared(AutoModelForCausalLM.from_config(config).eval(), PAIRS)
    assert reason is not None
    assert "differ by up to" in reason or "refuses packed rows" in reason


def off_by(nats: float, tokens: int | None, monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """Make packed rows give log-probs that are off in the first `tokens` tokens, or in all."""
    rows: list[Row] = []

    def packed(model: Any, row: Row) -> torch.Tensor:
        rows.append(row)
        logps = token_logps_unshared(model, row)
        logps[:tokens] += nats
        return logps

    monkeypatch.setattr(module, "token_logps", packed)
    return rows


@pytest.mark.parametrize(("nats", "shares"), [(9e-4, True), (1.1e-3, False), (-1.1e-3, False)])
def test_in_float32_the_largest_difference_decides(
    nats: float, shares: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    off_by(nats, 1, monkeypatch)
    reason = why_not_shared(toy_llama(), PAIRS)
    assert shares is (reason is None)
    if not shares:
        assert reason == "packed and plain passes differ by up to 0.0011 nats a token"


@pytest.mark.parametrize(("nats", "shares"), [(0.09, True), (0.11, False), (float("nan"), False)])
@pytest.mark.parametrize("autocast", [True, False])
def test_in_lower_precision_the_mean_difference_decides(
    nats: float, shares: bool, autocast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    off_by(nats, None, monkeypatch)
    model = toy_llama() if autocast else toy_llama().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        assert (why_not_shared(model, PAIRS) is None) is shares


def test_a_difference_of_just_the_limit_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    off_by(0.0, None, monkeypatch)
    monkeypatch.setattr(module, "LARGEST_NATS", 0.0)
    monkeypatch.setattr(module, "MEAN_NATS", 0.0)
    for model in (toy_llama(), toy_llama().bfloat16()):
        assert why_not_shared(model, PAIRS) is None


def test_one_value_that_is_no_number_is_reason_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    off_by(float("nan"), 1, monkeypatch)
    assert "differ by up to nan nats" in str(why_not_shared(toy_llama(), PAIRS))


def test_the_four_shortest_pairs_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = off_by(0.0, None, monkeypatch)
    assert why_not_shared(toy_llama(), [of_tokens(60), *PAIRS]) is None
    (row,) = rows
    shortest = sorted(pair.tokens for pair in PAIRS)[:4]
    assert sorted(block.tokens for block in row.blocks) == shortest


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TypeError("no packed rows\n(a long explanation)"), "TypeError: no packed rows"),
        (KeyError(), "KeyError: "),
    ],
)
def test_a_model_that_refuses_packed_rows_says_so_in_one_line(
    error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(model: Any, row: Row) -> torch.Tensor:
        raise error

    monkeypatch.setattr(module, "token_logps", refuses)
    assert why_not_shared(toy_llama(), PAIRS) == f"the model refuses packed rows ({reason})"


@pytest.mark.parametrize(("tokens", "shares"), [(60, True), (61, False)])
def test_a_pair_beyond_the_attention_window_is_not_shared(tokens: int, shares: bool) -> None:
    config = AutoConfig.for_model(
        "mistral",
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=60,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    reason = why_not_shared(model, [*PAIRS, of_tokens(tokens)])
    assert (reason is None) is shares
    assert shares or reason == "a pair of 61 tokens is longer than the attention window of 60"


DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}


@pytest.mark.parametrize(("tokens", "shares"), [(64, True), (65, False)])
def test_rope_that_looks_at_the_longest_position_is_not_shared(tokens: int, shares: bool) -> None:
    model = toy_llama(max_position_embeddings=64, rope_parameters=DYNAMIC)
    reason = why_not_shared(model, [*PAIRS, of_tokens(tokens)])
    assert (reason is None) is shares
    assert shares or reason == (
        "a pair of 65 tokens is beyond the 64 after which dynamic RoPE depends on the longest "
        "sequence"
    )


@pytest.mark.parametrize("rope_type", ["dynamic", "longrope"])
def test_rope_by_kind_of_layer_is_looked_at_too(rope_type: str) -> None:
    config = toy_llama().config
    config.rope_parameters = {
        "full_attention": {"rope_type": "default"},
        "sliding_attention": {"rope_type": rope_type, "original_max_position_embeddings": 8},
    }
    assert f"beyond the 8 after which {rope_type} RoPE" in str(module._too_long(config, 9))
    assert module._too_long(config, 8) is None
