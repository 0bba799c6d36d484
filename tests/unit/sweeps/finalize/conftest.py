"""Fixtures: a base model and a prepared sweep, both made in this process."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from dpo_core.evaluation.outcomes import write_outcomes
from dpo_core.models.load import load_model, load_trained
from dpo_core.models.lora_targets import lora_config
from dpo_core.storage.store import Store
from dpo_core.training.checkpoints import write_manifest
from sweeps.config.load import parse_sweep
from sweeps.finalize.score_policy import score_policy
from sweeps.prepare.data import read_data, split_data
from sweeps.prepare.pipeline import prepare
from sweeps.run_dir.paths import SweepPaths
from tests.support.toys import save_toy_model, write_toy_pairs


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_toy_model(tmp_path_factory.mktemp("toy") / "model")


@pytest.fixture
def prepared(tmp_path: Path, base: Path):
    """A sweep's folder after `prepare`, with one checkpoint and its evaluation.

    `change` is how far its weights are from an untouched policy's.
    """
    write_toy_pairs(tmp_path / "pairs.jsonl")

    def build(
        adapter: str,
        storage: str,
        change: float = 0.0,
        base_dtype: str = "float32",
        settings: Sequence[str] = (),
    ) -> SweepPaths:
        model = base
        if base_dtype != "float32":
            model = tmp_path / "base"
            shutil.copytree(base, model)
            loaded = AutoModelForCausalLM.from_pretrained(base, dtype=base_dtype)
            loaded.save_pretrained(model)
        config = parse_sweep(
            f'name: toy\nmodel: {{path: "{model}", adapter: {adapter}}}\nspace: lora\n'
            f'data: {{path: "{tmp_path}/pairs.jsonl", min_similarity: 1.0}}\n'
            "training: {max_steps: 4}\n",
            source="sweep.yaml",
            overrides=settings,
        )
        paths = SweepPaths(Store.open(storage), "toy-1")
        said = {"annotator_agreement": {}, "rows_skipped": [], "rows_left_out": []}
        splits = split_data(config, read_data(config))
        prepare(config, paths, splits, said, lambda run, *given: run(*given))
        model = load_model(config.model)
        if config.model.adapter is not None:
            from peft import get_peft_model

            model = get_peft_model(model, lora_config(config.model.adapter, None, model))
        with torch.no_grad():
            for weight in (p for p in model.parameters() if p.requires_grad):
                weight += change * torch.randn(weight.shape, generator=torch.manual_seed(0))
        folder = tmp_path / "checkpoint"
        model.save_pretrained(folder)
        for name in ("optimizer.safetensors", "scheduler.json", "trainer_state.json"):
            (folder / name).write_text("{}")
        write_manifest(folder, {"trial": "t0000", "step": 4})
        paths.store.upload(folder, paths.checkpoint("t0000", 4), last="manifest.json")
        policy = load_trained(config.model, Path(paths.store.root) / paths.checkpoint("t0000", 4))
        outcomes = score_policy(paths, policy, config.model, "select")
        metadata = {"trial": "t0000", "step": 4, "loss": 0.5, "split": "select"}
        paths.store.write(paths.outcome("t0000", 4), write_outcomes(outcomes, metadata))
        return paths

    return build
