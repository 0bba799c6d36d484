"""What scoring in float32 costs, by hand; and when it is worth that."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_core.settings import FLOAT32
from sweeps.config.load import parse_sweep
from sweeps.config.schema import SweepConfig
from sweeps.prepare.score_precision import (
    choose_score_dtype,
    scoring_share,
    sweep_tokens,
)

BFLOAT16 = "bfloat16"


def config_with(*overrides: str) -> SweepConfig:
    text = """
name: toy
model: {path: toy, dtype: bfloat16}
data: {path: pairs.jsonl}
space: demo
training: {max_steps: 10, batch_pairs: 4, evaluations: 2}
search: {trials: 3}
resources: {gpus_per_worker: 1}
"""
    return parse_sweep(text, source="test", overrides=overrides)


def reports_of(**pairs: int) -> dict[str, dict[str, Any]]:
    """Splits of so many pairs, with 3 prompt, 4 chosen and 5 rejected tokens each."""
    return {
        split: {
            "pairs": count,
            "indistinct": 0,
            "prompt_tokens": 3 * count,
            "chosen_tokens": 4 * count,
            "rejected_tokens": 5 * count,
        }
        for split, count in pairs.items()
    }


REPORTS = reports_of(train=100, select=20, final=30)


def test_tokens_by_hand() -> None:
    tokens = sweep_tokens(config_with("selection.confirm={top: 1, seeds: 2}"), REPORTS)
    assert tokens.in_split == {"train": 1200, "select": 240, "final": 360}
    assert tokens.trials == 3 + 2
    assert tokens.trained_per_trial == 10 * 4 * 12
    assert tokens.evaluated_per_trial == 2 * 240
    assert tokens.sweep == 5 * (480 + 480)


@pytest.mark.parametrize(
    ("overrides", "passes"),
    [
        ((), 2),
        (("model.adapter=null",), 3),
        (("training.gradient_checkpointing=true",), 3),
    ],
)
@pytest.mark.parametrize(("gpus", "cost"), [(1, 10), (0, 2)])
def test_shares_by_hand(overrides: tuple[str, ...], passes: int, gpus: int, cost: int) -> None:
    config = config_with(*overrides, f"resources.gpus_per_worker={gpus}")
    tokens = sweep_tokens(config, REPORTS)
    training = 3 * 480 * passes + 1200  # three trials, and train under the reference
    scoring = 3 * 480 + 240 + 2 * 360  # select at each evaluation; both under the reference
    assert scoring_share(config, tokens, BFLOAT16) == scoring / (training + scoring)
    expected = cost * scoring / (training + cost * scoring)
    assert scoring_share(config, tokens, FLOAT32) == pytest.approx(expected)


def test_a_float32_model_costs_nothing_more() -> None:
    config = config_with("model.dtype=float32")
    tokens = sweep_tokens(config, REPORTS)
    assert scoring_share(config, tokens, FLOAT32) < 0.5
    for wanted in ("auto", "float32", "model"):
        chosen = config_with("model.dtype=float32", f"selection.score_dtype={wanted}")
        assert choose_score_dtype(chosen, tokens) == FLOAT32


@pytest.mark.parametrize(
    ("wanted", "max_steps", "expected"),
    [
        ("auto", 10, BFLOAT16),  # float32 would take most of the compute
        ("auto", 10_000, FLOAT32),  # and here next to nothing
        ("float32", 10, FLOAT32),
        ("model", 10_000, BFLOAT16),
    ],
)
def test_auto_takes_float32_where_it_is_cheap(wanted: str, max_steps: int, expected: str) -> None:
    config = config_with(f"selection.score_dtype={wanted}", f"training.max_steps={max_steps}")
    assert choose_score_dtype(config, sweep_tokens(config, REPORTS)) == expected


def test_a_fifth_of_the_compute_is_too_much() -> None:
    """Around the step at which float32 takes a fifth: 24,000 of scoring, 96,000 of training."""
    chosen = {}
    for steps in (329, 330):
        config = config_with(f"training.max_steps={steps}")
        tokens = sweep_tokens(config, REPORTS)
        chosen[steps] = (scoring_share(config, tokens, FLOAT32), choose_score_dtype(config, tokens))
    assert chosen[329][0] > 0.2 > chosen[330][0]
    assert (chosen[329][1], chosen[330][1]) == (BFLOAT16, FLOAT32)
