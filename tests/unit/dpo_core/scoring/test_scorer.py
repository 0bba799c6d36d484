"""A scorer loads its model at the first use and scores in the precision of its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dpo_core.models.load import autocast, load_model
from dpo_core.scoring.logprobs import score_pairs
from dpo_core.scoring.reference_cache import COLUMNS
from dpo_core.scoring.scorer import Scorer, best_device
from dpo_core.settings import ModelSettings
from tests.support.toys import toy_encoded

PAIRS = toy_encoded(4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shared", [True, False])
def test_scores_are_those_of_the_model_in_its_precision(
    toy_model: Path, dtype: Any, shared: bool
) -> None:
    settings = ModelSettings(path=str(toy_model), dtype=dtype)
    columns = Scorer(settings, row_tokens=96, shared=shared)(PAIRS)
    device = best_device()
    with autocast(settings, device):
        expected = score_pairs(load_model(settings, device), PAIRS, 96, shared).numpy()
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
    assert scorer.why_not_shared(PAIRS) is None
    assert len(loads) == 1


def test_sharing_is_judged_in_the_precision_of_the_settings(
    toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bfloat16 packed and plain passes differ by more than float32 allows, and share all the same."""
    scorer = Scorer(ModelSettings(path=str(toy_model), dtype="bfloat16", adapter=None))
    assert scorer.why_not_shared(PAIRS) is None
    monkeypatch.setattr("dpo_core.scoring.prompt_sharing.MEAN_NATS", -1.0)
    assert "differ by up to" in str(scorer.why_not_shared(PAIRS))
