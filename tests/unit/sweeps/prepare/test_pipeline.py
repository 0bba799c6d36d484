"""What is prepared in which precision. The rest is tested in tests/integration/test_pipeline.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dpo_core.storage.store import Store
from sweeps.config.load import parse_sweep
from sweeps.prepare.reuse import reusable_preparation
from sweeps.run_dir.paths import SPLITS, SweepPaths
from sweeps.run_dir.prepared import Prepared, read_encoded, read_reference
from sweeps.sweep import run_sweep
from tests.support.sweeps_without_ray import Stopped, sweep_yaml, without_ray
from tests.support.toys import write_toy_pairs


@pytest.fixture
def prepared_paths(tmp_path: Path, toy_model: Path) -> Any:
    pairs = write_toy_pairs(tmp_path / "pairs.jsonl")

    def prepare(name: str, *overrides: str) -> tuple[Prepared, SweepPaths]:
        text = sweep_yaml(tmp_path / "runs", toy_model, pairs)
        config = parse_sweep(text, source="test", overrides=overrides)
        paths = SweepPaths(Store.open(config.storage), name)
        with without_ray(stop=True), pytest.raises(Stopped):
            run_sweep(config, paths, lambda event: None)
        return Prepared.read(paths), paths

    return prepare


def test_held_out_pairs_are_prepared_in_the_dtype_that_scores_them(prepared_paths: Any) -> None:
    half = "model.dtype=bfloat16"
    model, _ = prepared_paths("m", half, "selection.score_dtype=model")
    whole, paths = prepared_paths("f", half, "selection.score_dtype=float32")
    assert (model.score_dtype, whole.score_dtype) == ("bfloat16", "float32")
    assert model.model_noise == pytest.approx(whole.model_noise, rel=0.2)
    assert model.model_noise > 1e-3
    assert (model.margin_noise, whole.margin_noise) == (model.model_noise, 0.0)
    same = {s: model.reference_keys[s] == whole.reference_keys[s] for s in SPLITS}
    assert same == {"train": True, "select": False, "final": False}
    for split in SPLITS:
        assert read_reference(paths, whole, split, read_encoded(paths, split))
    assert reusable_preparation(paths) == whole


def test_a_float32_sweep_measures_nothing(prepared_paths: Any) -> None:
    prepared, _ = prepared_paths("w")
    assert prepared.score_dtype == "float32"
    assert prepared.model_noise == prepared.margin_noise == 0.0
