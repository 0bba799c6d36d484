"""A model is restored after each use: a later trial gives the numbers of a first one."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from dpo_core.errors import TrialFailed
from dpo_core.hyperparams import DPOHyperparams
from dpo_core.models.load import load_model
from dpo_core.models.reusable import ReusableModel
from dpo_core.settings import LoraSettings, ModelSettings, TrainingSettings
from dpo_core.training.trainer import train
from tests.support.expert_models import FAMILIES, save_expert_model
from tests.support.toys import toy_data, toy_tokenizer

ADAPTERS = [LoraSettings(rank=4), None]
MIB = 2**20


def settings_of(folder: Path, adapter: LoraSettings | None, dtype: str = "float32") -> Any:
    return ModelSettings(path=str(folder), adapter=adapter, dtype=dtype)


def run(model: Any, settings: ModelSettings, data: Any, workdir: Path, rate: float) -> list[Any]:
    """Per-pair sums of each evaluation of a short trial."""
    seen: list[Any] = []
    train(
        model,
        toy_tokenizer(),
        data,
        DPOHyperparams(learning_rate=rate, beta=0.1),
        model_settings=settings,
        training=TrainingSettings(max_steps=3, batch_pairs=4, evaluations=3, row_tokens=96),
        seed=0,
        workdir=workdir,
        on_evaluation=lambda e: seen.append((e.outcomes.chosen_logp, e.outcomes.rejected_logp)),
    )
    return seen


def same(left: list[Any], right: list[Any]) -> bool:
    return all(
        (a == b).all() for x, y in zip(left, right, strict=True) for a, b in zip(x, y, strict=True)
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("adapter", ADAPTERS, ids=["lora", "full"])
def test_a_trial_on_a_restored_model_gives_the_numbers_of_a_fresh_one(
    toy_model: Path, tmp_path: Path, adapter: LoraSettings | None, dtype: str
) -> None:
    settings = settings_of(toy_model, adapter, dtype)
    data = toy_data(load_model(settings))
    first = run(load_model(settings), settings, data, tmp_path, 0.01)
    reusable = ReusableModel(settings, "cpu")
    with reusable.restored_after_use() as model:
        other = run(model, settings, data, tmp_path, 0.003)
    with pytest.raises(TrialFailed), reusable.restored_after_use() as model:
        run(model, settings, data, tmp_path, 1e30)
    with reusable.restored_after_use() as again:
        assert again is model, "loaded once"
        assert same(run(again, settings, data, tmp_path, 0.01), first)
    assert not same(other, first), "or the comparison says nothing"


@pytest.mark.parametrize("adapter", ADAPTERS, ids=["lora", "full"])
def test_the_model_is_restored_to_what_was_loaded(
    toy_model: Path, tmp_path: Path, adapter: LoraSettings | None
) -> None:
    settings = settings_of(toy_model, adapter)
    fresh = load_model(settings).state_dict()
    reusable = ReusableModel(settings, "cpu")
    with reusable.restored_after_use() as model:
        run(model, settings, toy_data(load_model(settings)), tmp_path, 0.01)
    assert list(model.state_dict()) == list(fresh)
    assert all(torch.equal(model.state_dict()[name], fresh[name]) for name in fresh)
    assert "forward" not in vars(model)
    assert not model.training


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_with_experts_serves_two_trials_and_is_as_loaded(
    family: str, tmp_path: Path
) -> None:
    settings = settings_of(save_expert_model(family, tmp_path / "model"), ADAPTERS[0])
    reusable = ReusableModel(settings, "cpu")
    with reusable.restored_after_use() as model:
        fresh = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        data = toy_data(model, train=8, select=4)
        first = run(model, settings, data, tmp_path, 0.01)
    with reusable.restored_after_use() as again:
        assert same(run(again, settings, data, tmp_path, 0.01), first)
    state = again.state_dict()
    assert state.keys() == fresh.keys()
    assert all(torch.equal(state[name], fresh[name]) for name in fresh)
    assert (first[0][0] != first[-1][0]).all(), "or nothing was trained"


def test_the_garbage_collector_skips_a_loaded_model(toy_model: Path) -> None:
    reusable = ReusableModel(settings_of(toy_model, ADAPTERS[0]), "cpu")
    with reusable.restored_after_use():
        assert gc.get_freeze_count() > 10_000
    with pytest.raises(MemoryError), reusable.restored_after_use():
        raise MemoryError
    assert gc.get_freeze_count() == 0, "or the dropped model would stay as well"


def test_after_an_unknown_error_the_model_is_loaded_again(toy_model: Path) -> None:
    reusable = ReusableModel(settings_of(toy_model, ADAPTERS[0]), "cpu")
    with pytest.raises(MemoryError), reusable.restored_after_use() as first:
        raise MemoryError
    with reusable.restored_after_use() as second:
        assert second is not first


def test_memory_does_not_grow_over_fifty_trials(toy_model: Path, tmp_path: Path) -> None:
    settings = settings_of(toy_model, ADAPTERS[0])
    data = toy_data(load_model(settings))
    reusable = ReusableModel(settings, "cpu")
    used = []
    for _ in range(50):
        with reusable.restored_after_use() as model:
            run(model, settings, data, tmp_path, 0.01)
        gc.collect()
        used.append(psutil.Process().memory_info().rss)
    # The first ten fill allocator and import caches.
    assert used[-1] - used[9] < 20 * MIB, [u // MIB for u in used]
