"""What stays fixed over a sweep: rules, messages, and what TRL may be told."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from trl import DPOConfig

from dpo_core.hyperparams import DPOHyperparams
from dpo_core.refused_trl_fields import REFUSED_TRL_FIELDS
from dpo_core.settings import DataSettings, LoraSettings, ModelSettings, TrainingSettings
from dpo_core.training.trainer import dpo_config

TRL_FIELDS = {f.name: f for f in dataclasses.fields(DPOConfig) if f.init}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: LoraSettings(targets=["q_proj", "lm_head"]),
            "lm_head would never be trained through an adapter; leave it out",
        ),
        (lambda: LoraSettings(rank=0), "greater than or equal to 1"),
        (lambda: ModelSettings(path=""), "at least 1 character"),
        (lambda: ModelSettings(path="x", dtype="int8"), "'float32', 'bfloat16' or 'float16'"),
        (
            lambda: DataSettings(path="x", select_fraction=0.5, final_fraction=0.6),
            r"select_fraction \+ final_fraction = 1.1 leaves nothing to train on; keep the sum",
        ),
        (lambda: DataSettings(path="x", select_fraction=0.0), "greater than 0"),
        (lambda: DataSettings(path="x", max_tokens=8), "greater than or equal to 16"),
        (lambda: TrainingSettings(), "give either max_steps or epochs, and not both"),
        (lambda: TrainingSettings(max_steps=1, epochs=1.0), "give either max_steps or epochs"),
        (lambda: TrainingSettings(max_steps=1, batch_size=2), "Extra inputs are not permitted"),
    ],
)
def test_a_broken_rule_is_named(build: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        build()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ModelSettings(path="x").path = "y"  # type: ignore[misc]


def test_steps_by_hand() -> None:
    assert TrainingSettings(max_steps=7).steps(1000) == 7
    assert TrainingSettings(epochs=2, batch_pairs=8).steps(100) == 25  # 200 / 8
    assert TrainingSettings(epochs=1, batch_pairs=8).steps(101) == 13  # ⌈12.6⌉
    assert TrainingSettings(epochs=0.01, batch_pairs=8).steps(10) == 1


def test_evaluation_steps_by_hand() -> None:
    assert TrainingSettings(max_steps=10, evaluations=4).evaluation_steps(10) == (3, 5, 8, 10)
    assert TrainingSettings(max_steps=2, evaluations=5).evaluation_steps(2) == (1, 2)


@given(st.integers(1, 500), st.integers(1, 50))
def test_evaluations_are_distinct_even_and_end_with_training(steps: int, evaluations: int) -> None:
    settings = TrainingSettings(max_steps=steps, evaluations=evaluations)
    at = settings.evaluation_steps(steps)
    assert len(set(at)) == len(at) == min(steps, evaluations)
    assert list(at) == sorted(at)
    assert at[-1] == steps
    gaps = [b - a for a, b in zip((0, *at), at, strict=False)]
    assert max(gaps) - min(gaps) <= 1
    assert min(gaps) >= 1
    assert max(gaps) <= math.ceil(steps / len(at))


# --- TRL's own fields -------------------------------------------------------------------------

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
