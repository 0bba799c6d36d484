"""A scorer loads its model at the first use and scores in the precision of its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dpo_core.models.load import autocast, load_model
from dpo_core.scoring import prompt_sharing
from dpo_core.scoring.logprobs import score_pairs
from dpo_core.scoring.reference_cache import COLUMNS
from dpo_core.scoring.row_layout import RowLayout
from dpo_core.scoring.scorer import Scorer, best_device
from dpo_core.settings import ModelSettings
from tests.support.decoder_families import tiny_decoder
from tests.support.toys import toy_encoded

PAIRS = toy_encoded(4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", list(RowLayout))
def test_scores_are_those_of_the_model_in_its_precision(
    toy_model: Path, dtype: Any, layout: RowLayout
) -> None:
    settings = ModelSettings(path=str(toy_model), dtype=dtype)
    columns = Scorer(settings, row_tokens=96, layout=layout)(PAIRS)
    device = best_device()
    with autocast(settings, device):
        expected = score_pairs(load_model(settings, device), PAIRS, 96, layout).numpy()
    assert set(columns) == set(COLUMNS)
    for name in COLUMNS:
        assert columns[name].tolist() == expected[name].tolist(), name


def test_the_model_is_loaded_once_and_only_when_it_is_needed(
    toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[ModelSettings] = []

    def counted(settings: ModelSettings, device: str) -> Any:
        loads.append(settings)
        return load_model(settings, device)

    monkeypatch.setattr("dpo_core.scoring.scorer.load_model", counted)
    scorer = Scorer(ModelSettings(path=str(toy_model)))
    assert loads == []
    scorer(PAIRS[:1])
    assert scorer.choose_layout(PAIRS, 96).layout is RowLayout.PACKED
    assert len(loads) == 1


@pytest.mark.parametrize(
    ("dtype", "adapter"), [("float32", True), ("bfloat16", True), ("bfloat16", False)]
)
def test_a_layout_is_judged_in_float32_whatever_the_dtype(
    dtype: Any, adapter: bool, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong row costs less than the noise of bfloat16 in some models, and more than float32's."""
    settings = ModelSettings(path=str(toy_model), dtype=dtype)
    scorer = Scorer(settings if adapter else settings.model_copy(update={"adapter": None}))
    differences: list[float] = []
    original = prompt_sharing._Comparison.differences

    def kept(comparison: Any, layout: RowLayout) -> Any:
        difference = original(comparison, layout)
        differences.append(float(difference.max()))
        return difference

    monkeypatch.setattr(prompt_sharing._Comparison, "differences", kept)
    assert scorer.choose_layout(PAIRS, 96).layout is RowLayout.PACKED
    assert differences[0] < 1e-5
    assert len(differences) == 1 or (dtype == "bfloat16" and differences[1] > 1e-3)


def test_what_rounding_breaks_is_not_shared(
    toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exact in float32, and off by more than rounding in the precision of training."""
    monkeypatch.setattr(prompt_sharing, "MEAN_IN_HALF_PRECISION", 0.0)
    scorer = Scorer(ModelSettings(path=str(toy_model), dtype="bfloat16"))
    choice = scorer.choose_layout(PAIRS, 96)
    assert choice.layout is RowLayout.PLAIN
    assert "in half precision packed and plain passes differ by" in str(choice.why_not_shared)
    whole = Scorer(ModelSettings(path=str(toy_model)))
    assert whole.choose_layout(PAIRS, 96).layout is RowLayout.PACKED


@pytest.mark.parametrize("model_type", ["bamba", "falcon_h1", "lfm2"])
def test_layers_that_are_no_attention_show_in_bfloat16_too(model_type: str, tmp_path: Path) -> None:
    tiny_decoder(model_type).bfloat16().save_pretrained(tmp_path)
    scorer = Scorer(ModelSettings(path=str(tmp_path), dtype="bfloat16"))
    assert scorer.choose_layout(PAIRS, 96).layout is RowLayout.PLAIN


def test_attention_that_is_named_covers_whole_rows(toy_model: Path) -> None:
    scorer = Scorer(ModelSettings(path=str(toy_model), attention="sdpa"))
    assert scorer.choose_layout(PAIRS, 96).layout is RowLayout.MASKED
