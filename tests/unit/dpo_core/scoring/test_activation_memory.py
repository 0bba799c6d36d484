"""What a training step keeps is counted: all of it but the weights, and each tensor once."""

from __future__ import annotations

import pytest
import torch

from dpo_core.encoding.packing import build_row
from dpo_core.scoring.activation_memory import kept_bytes_per_token
from dpo_core.scoring.logprobs import token_logps
from dpo_core.scoring.row_layout import RowLayout
from tests.support.decoder_families import tiny_decoder
from tests.support.toys import toy_encoded, toy_llama

ROW = build_row(toy_encoded(5), range(5))
PACKED, MASKED, PLAIN = RowLayout.PACKED, RowLayout.MASKED, RowLayout.PLAIN


def test_twice_the_layers_keep_about_twice_as_much() -> None:
    two, four = (
        kept_bytes_per_token(toy_llama(num_hidden_layers=layers), ROW, PACKED) for layers in (2, 4)
    )
    # A layer has 34 values for each hidden unit of a token by the formula, of 2 bytes on average.
    assert four - two == pytest.approx(2 * 34 * 64 * 2, rel=0.5)


def test_checkpointed_layers_keep_what_goes_into_them() -> None:
    model = toy_llama().train()
    whole = kept_bytes_per_token(model, ROW, PACKED)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    assert kept_bytes_per_token(model, ROW, PACKED) < whole / 3


def test_single_answers_and_state_spaces_keep_more() -> None:
    llama, mamba = toy_llama(), tiny_decoder("mamba2")
    shared = kept_bytes_per_token(llama, ROW, PACKED)
    assert 1.1 * shared < kept_bytes_per_token(llama, ROW, PLAIN) < 2 * shared
    attention = tiny_decoder("llama")
    assert kept_bytes_per_token(mamba, ROW, PLAIN) > 2 * kept_bytes_per_token(
        attention, ROW, PACKED
    )


def test_scores_of_eager_attention_are_counted() -> None:
    kept = {
        attention: kept_bytes_per_token(tiny_decoder("llama", attention), ROW, MASKED)
        for attention in ("sdpa", "eager")
    }
    tokens, heads, layers = ROW.input_ids.shape[1], 4, 2
    assert kept["eager"] - kept["sdpa"] > 0.8 * tokens * heads * layers * 4


def test_it_is_measured_where_gradients_are_off() -> None:
    model = toy_llama()
    with torch.no_grad():
        assert kept_bytes_per_token(model, ROW, PACKED) > 0
        assert not token_logps(model, ROW, PACKED).requires_grad
