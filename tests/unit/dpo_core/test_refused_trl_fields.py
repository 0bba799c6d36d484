"""Fields of TRL's DPOConfig: a sweep refuses those it decides itself and passes on all others."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from trl import DPOConfig

from dpo_core.hyperparams import DPOHyperparams
from dpo_core.refused_trl_fields import REFUSED_TRL_FIELDS
from dpo_core.settings import ModelSettings, TrainingSettings
from dpo_core.training.trainer import dpo_config

TRL_FIELDS = {f.name: f for f in dataclasses.fields(DPOConfig) if f.init}

# Older names of Transformers and TRL: still refused, so that an old config learns where to go.
BYGONE = {"group_by_length", "logging_dir", "per_gpu_train_batch_size", "warmup_ratio"}


@pytest.mark.parametrize("name", sorted(REFUSED_TRL_FIELDS))
def test_refused_fields_are_refused_with_the_way_out(name: str) -> None:
    with pytest.raises(ValidationError, match=rf"trl\.{name} cannot be given: ") as error:
        TrainingSettings(max_steps=1, trl={name: 1})
    assert REFUSED_TRL_FIELDS[name] in str(error.value)


def test_refused_fields_are_fields_of_dpo_config() -> None:
    assert set(REFUSED_TRL_FIELDS) - set(TRL_FIELDS) == BYGONE


def config_of(trl: dict[str, Any], workdir: Path) -> Any:
    training = TrainingSettings(max_steps=3, trl=trl)
    point = DPOHyperparams(learning_rate=1e-6, beta=0.1)
    return dpo_config(ModelSettings(path="x"), training, point, 3, workdir, seed=5, on_gpu=False)


@pytest.mark.parametrize("name", sorted(set(TRL_FIELDS) - set(REFUSED_TRL_FIELDS)))
def test_any_other_field_is_passed_through(name: str, tmp_path: Path) -> None:
    default = getattr(config_of({}, tmp_path), name)
    assert getattr(config_of({name: default}, tmp_path), name) == default


def test_given_fields_win(tmp_path: Path) -> None:
    config = config_of({"weight_decay": 0.1, "logging_steps": 2, "disable_tqdm": False}, tmp_path)
    assert (config.weight_decay, config.logging_steps, config.disable_tqdm) == (0.1, 2, False)


def test_what_the_sweep_decides_reaches_trl(tmp_path: Path) -> None:
    config = config_of({}, tmp_path)
    assert (config.max_steps, config.learning_rate, config.seed) == (3, 1e-6, 5)
    assert config.per_device_train_batch_size == config.gradient_accumulation_steps == 1
    assert config.report_to == []
    assert config.push_to_hub is False
    assert str(config.save_strategy) in ("no", "SaveStrategy.NO")
