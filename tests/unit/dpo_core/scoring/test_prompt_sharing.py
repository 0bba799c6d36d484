"""The fastest exact layout of rows is chosen, and the reason is given where prompts are not shared."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dpo_core.encoding.packing import Row
from dpo_core.encoding.token_table import EncodedPair
from dpo_core.scoring import prompt_sharing as module
from dpo_core.scoring.logprobs import token_logps
from dpo_core.scoring.prompt_sharing import (
    LayoutChoice,
    Limit,
    choose_layout,
    fault_in_half_precision,
)
from dpo_core.scoring.row_layout import RowLayout
from tests.support.decoder_families import tiny_decoder
from tests.support.toys import toy_encoded, toy_llama

SHORT = toy_encoded(8)
LONG = EncodedPair("long", tuple(range(3, 63)), (5, 6, *range(70, 86)), tuple(range(90, 112)))
"""Prompt and longer answer together have 82 tokens; no short pair has more than 32."""
ROW_TOKENS = 200
PACKED, MASKED, PLAIN = RowLayout.PACKED, RowLayout.MASKED, RowLayout.PLAIN
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 8.0}


def choice_of(model: Any, *pairs: EncodedPair) -> LayoutChoice:
    return choose_layout(model, [*SHORT, *pairs], ROW_TOKENS)


# One model for each way in which layers see other tokens.
@pytest.mark.parametrize(
    ("model_type", "changes", "layout"),
    [
        ("llama", {}, PACKED),
        ("qwen2_moe", {}, PACKED),  # its config has a window of 0, which means none
        ("deepseek_v3", {}, PACKED),  # latent attention
        ("gemma3_text", {}, PACKED),  # a window that no pair exceeds
        ("stablelm", {}, MASKED),  # its layers do not hand the blocks on to their attention
        ("falcon", {}, MASKED),  # it drops the blocks without a word: packed it is off by 1.6 nats
        ("gpt_oss", {}, MASKED),  # attention of its own
        ("mpt", {}, PLAIN),  # ALiBi: it knows no positions
        ("lfm2", {}, PLAIN),  # convolutions
        ("mamba2", {}, PLAIN),  # a state space
        ("bamba", {}, PLAIN),  # attention and a state space
        ("qwen3_5_text", {}, PLAIN),  # linear attention
        ("cpmant", {}, PLAIN),  # no causal model
    ],
)
def test_each_mechanism_gets_the_fastest_layout_that_is_exact(
    model_type: str, changes: dict[str, Any], layout: RowLayout
) -> None:
    choice = choice_of(tiny_decoder(model_type, **changes), LONG)
    assert choice.layout is layout
    reason = str(choice.why_not_shared)
    if layout is PLAIN:
        assert "differ by up to" in reason or "refuses packed rows" in reason
    else:
        assert choice.why_not_shared is None


# What a layer looks back to ends somewhere, and each config says where by a name of its own.
@pytest.mark.parametrize(
    ("model_type", "changes"),
    [
        ("gpt_neo", {"window_size": 40}),
        ("llama4_text", {"attention_chunk_size": 40}),
        ("mistral", {"sliding_window": 40}),
        ("modernbert-decoder", {"local_attention": 80}),  # to both sides
        ("llama", {"max_position_embeddings": 40, "rope_parameters": DYNAMIC}),
    ],
)
def test_a_pair_beyond_what_a_layer_looks_back_to_is_not_shared(
    model_type: str, changes: dict[str, Any]
) -> None:
    model = tiny_decoder(model_type, **changes)
    assert choice_of(model).layout is not PLAIN
    choice = choice_of(model, LONG)
    assert choice.layout is PLAIN
    assert "packed and plain passes differ by up to" in str(choice.why_not_shared)


def test_attention_to_some_tokens_is_exact_under_a_mask() -> None:
    """An indexer chooses which tokens are attended to, and writes its choice into the mask."""
    model = tiny_decoder("deepseek_v32", index_topk=40)
    assert choice_of(model) == LayoutChoice(PACKED)
    assert choice_of(model, LONG) == LayoutChoice(MASKED)


def test_the_reason_says_where_only_the_longest_pair_differs() -> None:
    choice = choice_of(tiny_decoder("mistral", sliding_window=40), LONG)
    assert str(choice.why_not_shared).endswith(
        " nats a token in the longest pair, of 82 tokens, though not in short ones"
    )
    assert "longest" not in str(choice_of(tiny_decoder("mpt"), LONG).why_not_shared)


def off_by(
    nats: float,
    tokens: int | None,
    monkeypatch: pytest.MonkeyPatch,
    layouts: tuple[RowLayout, ...] = (PACKED, MASKED),
) -> list[tuple[RowLayout, Row]]:
    """Make layouts give log-probs that are off in the first `tokens` tokens, or in all."""
    runs: list[tuple[RowLayout, Row]] = []

    def run(model: Any, row: Row, layout: RowLayout) -> torch.Tensor:
        runs.append((layout, row))
        logps = token_logps(model, row, PLAIN)
        if layout in layouts:
            logps[:tokens] += nats
        return logps

    monkeypatch.setattr(module, "token_logps", run)
    return runs


@pytest.fixture(scope="module")
def llama() -> Any:
    return toy_llama()


@pytest.mark.parametrize(
    ("nats", "tokens", "shares"),
    [
        (9e-5, 1, True),
        (1.2e-4, 1, False),
        (-1.2e-4, 1, False),
        (9e-6, None, True),
        (2e-5, None, False),  # a small difference of all tokens adds up
        (float("nan"), 1, False),
    ],
)
def test_the_largest_and_the_mean_difference_decide(
    nats: float, tokens: int | None, shares: bool, llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    off_by(nats, tokens, monkeypatch)
    choice = choice_of(llama)
    assert choice.layout.shares_prompts is shares
    assert shares or "packed and plain passes differ by up to" in str(choice.why_not_shared)


@pytest.mark.parametrize(
    ("difference", "noise", "allowed"),
    [
        (1.0, 0.0, True),
        (1.1, 0.0, False),
        (1.1, 0.11, True),  # ten times the noise
        (1.2, 0.11, False),
        (5.0, 3.0, True),
        (5.1, 3.0, False),  # never more than that
        (float("nan"), 3.0, False),
        (1.0, float("nan"), True),
    ],
)
def test_a_limit_follows_the_noise_between_two_bounds(
    difference: float, noise: float, allowed: bool
) -> None:
    assert Limit(least=1.0, most=5.0).allows(difference, noise) is allowed


def test_the_slower_layout_is_tried_when_the_faster_one_is_wrong(
    llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = off_by(1.0, 1, monkeypatch, (PACKED,))
    assert choice_of(llama) == LayoutChoice(MASKED)
    assert [layout for layout, _ in runs] == [PLAIN, PACKED, MASKED]


def test_a_model_with_other_attention_has_no_packed_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = off_by(0.0, None, monkeypatch)
    assert choice_of(tiny_decoder("llama", "eager")) == LayoutChoice(MASKED)
    assert PACKED not in [layout for layout, _ in runs]


def test_a_layout_that_is_not_allowed_is_not_tried(
    llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = off_by(0.0, None, monkeypatch)
    choice = choose_layout(llama, SHORT, ROW_TOKENS, [MASKED, PLAIN])
    assert choice == LayoutChoice(MASKED)
    assert PACKED not in [layout for layout, _ in runs]


def test_a_full_row_is_run_and_its_longest_and_shortest_pairs_are_compared(
    llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = off_by(0.0, None, monkeypatch)
    pairs = [*toy_encoded(40), LONG]
    assert choose_layout(llama, pairs, ROW_TOKENS) == LayoutChoice(PACKED)
    runs = dict(measured)
    compared = [block.tokens for block in runs[PLAIN].blocks]
    shortest = sorted(pair.tokens for pair in pairs)[:4]
    assert compared == [LONG.tokens, *shortest[::-1]]
    in_row = [block.tokens for block in runs[PACKED].blocks]
    assert in_row[0] == LONG.tokens
    assert in_row[-4:] == shortest[::-1]
    assert ROW_TOKENS - shortest[0] < sum(in_row) <= ROW_TOKENS


def test_one_pair_is_enough_to_measure(llama: Any) -> None:
    assert choose_layout(llama, SHORT[:1], ROW_TOKENS) == LayoutChoice(PACKED)
    assert choose_layout(llama, [LONG, *SHORT[:1]], 8) == LayoutChoice(PACKED)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TypeError("no packed rows\n(a long explanation)"), "TypeError: no packed rows"),
        (KeyError(), "KeyError: "),
    ],
)
def test_a_model_that_refuses_packed_rows_says_so_in_one_line(
    error: Exception, reason: str, llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(model: Any, row: Row, layout: RowLayout) -> torch.Tensor:
        if layout is PLAIN:
            return token_logps(model, row, PLAIN)
        raise error

    monkeypatch.setattr(module, "token_logps", refuses)
    reason = f"the model refuses packed rows ({reason})"
    assert choice_of(llama) == LayoutChoice(PLAIN, reason)


def test_a_model_without_float32_is_not_shared(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(model: Any, row: Row, layout: RowLayout) -> torch.Tensor:
        raise RuntimeError("FlashAttention only supports fp16 and bf16")

    monkeypatch.setattr(module, "token_logps", refuses)
    reason = (
        "the model does not run in float32 (RuntimeError: FlashAttention only supports fp16 and "
        "bf16)"
    )
    assert choice_of(llama) == LayoutChoice(PLAIN, reason)


@pytest.mark.parametrize(("nats", "sound"), [(0.09, True), (0.11, False), (float("nan"), False)])
def test_in_half_precision_only_a_coarse_fault_counts(
    nats: float, sound: bool, llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    off_by(nats, None, monkeypatch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fault = fault_in_half_precision(llama, SHORT, PACKED)
    assert (fault is None) is sound
