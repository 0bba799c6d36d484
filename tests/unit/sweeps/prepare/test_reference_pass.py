"""What the reference's entries depend on; the noise of a dtype; checkpointing when memory is short.

The pass itself is tested in tests/integration/test_pipeline.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dpo_core.encoding.token_table import TokenTable
from dpo_core.scoring import row_size
from dpo_core.scoring.reference_cache import margins
from dpo_core.scoring.row_layout import RowLayout
from dpo_core.scoring.scorer import Scorer
from dpo_core.settings import ModelSettings
from dpo_core.storage.store import Store
from sweeps.config.load import parse_sweep
from sweeps.config.schema import SweepConfig
from sweeps.prepare.reference_pass import (
    NOISE_PAIRS,
    choose_row_layout,
    measured_margin_noise,
    needs_checkpointing,
    reference_columns,
)
from sweeps.run_dir.paths import SPLITS, SweepPaths
from sweeps.run_dir.prepared import Prepared
from tests.support.toys import toy_encoded

SWEEP = """
name: fit
model: {{path: {model}}}
data: {{path: pairs.jsonl}}
space: lora
training: {{max_steps: 1, {training}}}
"""


@pytest.mark.parametrize(
    ("training", "memory", "expected"),
    [
        ("row_tokens: 64", 2**40, False),
        ("row_tokens: 64", 2**20, True),  # a megabyte holds not even the weights
        ("gradient_checkpointing: false", 2**20, False),
        ("gradient_checkpointing: true", 2**40, True),
    ],
)
def test_checkpointing_comes_when_memory_is_short(
    training: str, memory: int, expected: bool, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_size, "device_bytes", lambda _: memory)
    config = parse_sweep(SWEEP.format(model=toy_model, training=training), source="test")
    tokens = {"train": TokenTable.of(toy_encoded(3))}
    scorer = Scorer(config.model)
    scorer.device = "cpu"
    assert needs_checkpointing(config, tokens, scorer) is expected


def test_what_a_row_keeps_decides_on_checkpointing(
    toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_size, "device_bytes", lambda _: 2**30)
    config = parse_sweep(SWEEP.format(model=toy_model, training="row_tokens: 64"), source="test")
    tokens, scorer = {"train": TokenTable.of(toy_encoded(3))}, Scorer(config.model)
    scorer.device = "cpu"
    assert not needs_checkpointing(config, tokens, scorer)
    scorer.kept_bytes_per_token = 2.0**24  # a row of 64 tokens keeps a gibibyte
    assert needs_checkpointing(config, tokens, scorer)


PAIRS = TokenTable.of(toy_encoded(NOISE_PAIRS + 8))
PRINTS = {"weights_sha256": "w", "tokenizer_sha256": "t"}


def half(toy_model: Path, *overrides: str) -> SweepConfig:
    text = SWEEP.format(model=toy_model, training="row_tokens: 96")
    return parse_sweep(text, source="test", overrides=("model.dtype=bfloat16", *overrides))


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    return SweepPaths(Store.open(tmp_path), "sweep")


def key_of(
    paths: SweepPaths, config: SweepConfig, dtype: str, row_tokens: int = 96, device: str = "cpu"
) -> str:
    scorer = Scorer(config.model, row_tokens)
    few = TokenTable.of(PAIRS[:1])
    scorer.model  # noqa: B018 - loaded on this machine's device, before another is named
    scorer.device = device
    return reference_columns(config, paths, few, PRINTS, scorer, dtype)[0]


def test_in_half_precision_an_entry_holds_for_its_rows_only(
    paths: SweepPaths, toy_model: Path
) -> None:
    """Rounding depends on what else is in a row; in float32 that moves no margin that counts."""
    lora, full = half(toy_model), half(toy_model, "model.adapter=null")
    keys = {key_of(paths, lora, "bfloat16", tokens) for tokens in (96, 192)}
    keys |= {key_of(paths, half(toy_model, "model.attention=sdpa"), "bfloat16")}
    keys |= {key_of(paths, full, "bfloat16")}
    keys |= {key_of(paths, lora, "bfloat16", device="cuda")}
    assert len(keys) == 5
    assert len({key_of(paths, lora, "float32", tokens) for tokens in (96, 192)}) == 1


def test_float32_scores_of_rounded_weights_are_not_those_of_whole_ones(
    paths: SweepPaths, toy_model: Path
) -> None:
    whole = half(toy_model, "model.dtype=float32")
    keys = [key_of(paths, half(toy_model), "float32"), key_of(paths, whole, "float32")]
    assert keys[0] != keys[1]
    trained_whole = key_of(paths, half(toy_model, "model.adapter=null"), "float32")
    assert trained_whole == keys[1], "full fine-tuning keeps float32 weights"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("adapter", [True, False])
def test_the_noise_is_what_the_dtype_does_to_margins(
    paths: SweepPaths, toy_model: Path, adapter: bool, dtype: str
) -> None:
    config = half(toy_model, *(() if adapter else ("model.adapter=null",)))
    scorer = Scorer(config.model, 96)
    scored = scorer(PAIRS, dtype)
    noise = measured_margin_noise(config, paths, PAIRS, PRINTS, scorer, scored, dtype)
    few = PAIRS[:NOISE_PAIRS]
    difference = margins(scorer(few, "float32")) - margins(scorer(few, "bfloat16"))
    # The rows of all pairs may hold others than those of the first ones do.
    assert noise == pytest.approx(float((difference**2).mean() ** 0.5), rel=0.2)
    assert noise > 1e-3
    again = Scorer(ModelSettings(path="never loaded", dtype="bfloat16"), 96)
    assert measured_margin_noise(config, paths, PAIRS, PRINTS, again, scored, dtype) == noise


def test_float32_has_no_noise_and_loads_no_model(paths: SweepPaths, toy_model: Path) -> None:
    config = half(toy_model, "model.dtype=float32")
    scorer = Scorer(ModelSettings(path="never loaded"))
    assert measured_margin_noise(config, paths, PAIRS, PRINTS, scorer, {}, "float32") == 0.0


def test_the_layout_is_measured_once(paths: SweepPaths, toy_model: Path) -> None:
    config, tokens = half(toy_model), dict.fromkeys(SPLITS, PAIRS)
    scorer = Scorer(config.model)
    assert choose_row_layout(config, paths, tokens, PRINTS, scorer) is None
    assert (scorer.layout, scorer.row_tokens) == (RowLayout.PACKED, 96)
    again = Scorer(ModelSettings(path="never loaded"), layout=RowLayout.PLAIN)
    assert choose_row_layout(config, paths, tokens, PRINTS, again) is None
    assert again.layout is RowLayout.PACKED
    assert again.kept_bytes_per_token == scorer.kept_bytes_per_token > 0


@pytest.mark.parametrize(
    ("sharing", "layout"),
    [
        ({}, RowLayout.PACKED),
        ({"not_shared": "a window"}, RowLayout.PLAIN),  # as earlier versions wrote it
        ({"row_layout": "masked"}, RowLayout.MASKED),
        ({"not_shared": "a window", "row_layout": "plain"}, RowLayout.PLAIN),
    ],
)
def test_what_is_prepared_names_the_layout(sharing: dict[str, Any], layout: RowLayout) -> None:
    assert Prepared("", "", "", {}, {}, {}, **sharing).layout is layout
