"""A packed row with shared prompts gives, token by token, what separate passes give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from dpo_core.encoding.packing import Row, build_row, pack_rows
from dpo_core.encoding.token_table import EncodedPair
from dpo_core.ops.fused_lora import fuse_lora
from dpo_core.scoring.logprobs import (
    PairLogps,
    head_is_last,
    row_logps,
    score_pairs,
    score_rows,
    stack,
    sum_answers,
    token_logps,
)
from dpo_core.scoring.row_layout import RowLayout
from tests.support.architectures import TOYS, toy
from tests.support.decoder_families import tiny_decoder
from tests.support.toys import VOCABULARY, toy_encoded, toy_llama


@pytest.fixture(scope="module")
def row() -> Row:
    """Five pairs in one row of about 140 tokens."""
    return build_row(toy_encoded(5), range(5))


# Gemma 2 caps its attention scores, which only eager attention can.
CASES = [
    (model_type, attention, layout)
    for model_type in sorted(TOYS)
    for attention, layout in (
        ("sdpa", RowLayout.PACKED),
        ("sdpa", RowLayout.MASKED),
        ("eager", RowLayout.MASKED),
    )
    if model_type != "gemma2" or attention == "eager"
]


@pytest.mark.parametrize(("model_type", "attention", "layout"), CASES)
def test_shared_equals_unshared_per_token(
    model_type: str, attention: str, layout: RowLayout, row: Row
) -> None:
    model = toy(model_type, attention)
    assert model.config._attn_implementation == attention
    shared, unshared = (token_logps(model, row, each) for each in (layout, RowLayout.PLAIN))
    assert shared.shape == row.targets.shape
    assert shared.std() > 0.1  # the toy tells tokens apart, so equality says something
    torch.testing.assert_close(shared, unshared, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("model_type", "attention", "layout"), CASES)
def test_gradients_are_equal_too(
    model_type: str, attention: str, layout: RowLayout, row: Row
) -> None:
    model = toy(model_type, attention)
    weights = torch.linspace(-1, 1, len(row.targets))
    gradients = []
    for each in (layout, RowLayout.PLAIN):
        model.zero_grad()
        (token_logps(model, row, each) * weights).sum().backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters()})
    shared, unshared = gradients
    for name, gradient in unshared.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(shared[name], gradient, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize(("model_type", "attention", "layout"), CASES)
def test_equal_under_an_adapter(
    model_type: str, attention: str, layout: RowLayout, row: Row
) -> None:
    from peft import LoraConfig, get_peft_model

    base = toy(model_type, attention)
    untouched = token_logps(base, row, layout)
    model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear")).eval()
    fuse_lora(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    shared = token_logps(model, row, layout)
    assert (shared - untouched).abs().max() > 0.1
    torch.testing.assert_close(shared, token_logps(model, row, RowLayout.PLAIN), rtol=0, atol=1e-5)


def test_log_probabilities_are_those_of_the_plain_forward(row: Row) -> None:
    """The second answer of the third pair, computed here without any of the module's code."""
    model, pair = toy_llama(), toy_encoded(5)[2]
    ids = torch.tensor([pair.prompt + pair.rejected])
    table = model(input_ids=ids).logits.log_softmax(-1)[0]
    start = len(pair.prompt)
    by_hand = [table[start + i - 1, token].item() for i, token in enumerate(pair.rejected)]
    mine = token_logps(model, row)[row.answer_of == 2 * 2 + 1]
    assert mine.tolist() == pytest.approx(by_hand, abs=1e-5)


def test_changing_a_chosen_token_moves_nothing_else() -> None:
    pair = EncodedPair("p", (5, 6, 7), (8, 9), (10, 11))
    other = EncodedPair("p", (5, 6, 7), (8, 99), (10, 11))
    neighbour = EncodedPair("n", (12, 13), (14,), (15,))
    model = toy_llama()
    before, after = (token_logps(model, build_row([p, neighbour], [0, 1])) for p in (pair, other))
    assert before[1] != after[1]
    keep = [0, 2, 3, 4, 5]
    assert torch.equal(before[keep], after[keep])


def test_sums_by_hand() -> None:
    pairs = [EncodedPair("a", (1,), (2, 3, 4), (5,)), EncodedPair("b", (1,), (2,), (3, 4))]
    logps = torch.tensor([-1.0, -2.0, -4.0, -8.0, -16.0, -32.0, -64.0])
    sums = sum_answers(logps, build_row(pairs, [0, 1]))
    assert sums.chosen.tolist() == [-7.0, -16.0]  # −1 − 2 − 4; −16
    assert sums.rejected.tolist() == [-8.0, -96.0]  # −8; −32 − 64
    assert sums.chosen_tokens.tolist() == [3, 1]
    assert sums.rejected_tokens.tolist() == [1, 2]
    assert sums.chosen_head.tolist() == [-1.0, -16.0]  # the first min(3, 1) = 1 and min(1, 2) = 1
    assert sums.rejected_head.tolist() == [-8.0, -32.0]


def test_pairs_come_back_in_order_however_they_are_packed() -> None:
    model, pairs = toy_llama(), toy_encoded(12)
    packed, single = score_pairs(model, pairs, 96), score_pairs(model, pairs, 1)
    assert len(pack_rows(pairs, 96)) < len(pack_rows(pairs, 1)) == 12
    for name, column in packed.numpy().items():
        assert column == pytest.approx(single.numpy()[name], abs=1e-4), name
    assert packed.chosen_tokens.tolist() == [len(p.chosen) for p in pairs]


def test_scoring_leaves_the_model_as_it_was() -> None:
    model, pairs = toy_llama().train(), toy_encoded(3)
    scored = score_rows(model, pack_rows(pairs, 96), layout=RowLayout.PACKED)
    assert model.training
    assert sorted(scored) == [0, 1, 2]
    assert not scored[0].chosen.requires_grad


def test_dropout_does_not_reach_a_score() -> None:
    model, rows = toy_llama(attention_dropout=0.5), pack_rows(toy_encoded(3), 96)
    expected, scored = (
        score_rows(m, rows, layout=RowLayout.PACKED) for m in (model, model.train())
    )
    assert [s.chosen.item() for s in scored.values()] == [
        s.chosen.item() for s in expected.values()
    ]


def test_a_missing_pair_is_an_error() -> None:
    scored = score_rows(toy_llama(), pack_rows(toy_encoded(3), 96), layout=RowLayout.PACKED)
    del scored[1]
    with pytest.raises(KeyError):
        stack(scored, 3)


def test_row_logps_takes_the_plain_pass_when_prompts_are_not_shared(row: Row) -> None:
    model = toy_llama()
    plain: PairLogps = row_logps(model, row, layout=RowLayout.PLAIN)
    expected = sum_answers(token_logps(model, row, RowLayout.PLAIN), row)
    assert torch.equal(plain.chosen, expected.chosen)
    torch.testing.assert_close(plain.chosen, row_logps(model, row, layout=RowLayout.PACKED).chosen)


def test_bfloat16_weights_are_summed_in_float32(row: Row) -> None:
    logps = token_logps(toy_llama().bfloat16(), row)
    assert logps.dtype == torch.float32


def test_gradient_checkpointing_changes_nothing(row: Row) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = toy("llama").train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        token_logps(model, row).sum().backward()
        gradients.append(model.model.layers[0].mlp.up_proj.weight.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("model_type", "changes", "is_last"),
    [
        ("llama", {}, True),
        ("granite", {"logits_scaling": 1.0}, True),
        ("granite", {"logits_scaling": 2.0}, False),
        ("gemma2", {"final_logit_softcapping": 30.0}, False),
        ("gemma2", {"final_logit_softcapping": None}, True),
        ("nanochat", {}, False),  # caps its logits without a name for the cap
        ("falcon_h1", {"lm_head_multiplier": 0.5}, False),
    ],
)
def test_what_follows_the_head_is_measured(
    model_type: str, changes: dict[str, Any], is_last: bool
) -> None:
    """And log-probs are those of Transformers' logits in either case."""
    model = tiny_decoder(model_type, **changes).train()
    assert head_is_last(model) is is_last
    assert model.training
    (pair,) = toy_encoded(1)
    ids = torch.tensor([pair.prompt + pair.chosen])
    table = model.eval()(input_ids=ids).logits[0].log_softmax(-1)
    expected = [table[len(pair.prompt) + i - 1, t].item() for i, t in enumerate(pair.chosen)]
    for layout in (RowLayout.PLAIN, RowLayout.MASKED):
        if model_type != "falcon_h1" or layout is RowLayout.PLAIN:
            scored = token_logps(model, build_row([pair], [0]), layout)[: len(pair.chosen)]
            assert scored.tolist() == pytest.approx(expected, abs=1e-5)


def test_the_head_is_itself_again_after_an_error(row: Row) -> None:
    model = toy("llama")
    expected = token_logps(model, row)
    with pytest.raises(IndexError):
        token_logps(model, replace(row, input_ids=row.input_ids + VOCABULARY))
    assert "forward" not in model.lm_head.__dict__
    assert torch.equal(token_logps(model, row), expected)
