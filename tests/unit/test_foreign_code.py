"""A model repository may ship code. It runs only where the config says so, and is warned of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dpo_core.errors import DataError, ModelError
from dpo_core.models.load import load_model, load_tokenizer
from dpo_core.settings import ModelSettings
from sweeps.config.load import parse_sweep
from sweeps.config.schema import SweepConfig
from sweeps.prepare.memory_estimate import model_size
from sweeps.run_dir.paths import SweepPaths
from sweeps.sweep import run_sweep

CODE = """
from pathlib import Path
from transformers import PretrainedConfig

Path({canary!r}).touch()


class Strange(PretrainedConfig):
    model_type = "strange"
"""


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file that exists once the model's code has run."""
    return tmp_path / "canary"


@pytest.fixture
def model(tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules")
    )
    folder = tmp_path / "strange_model"
    folder.mkdir()
    (folder / "strange.py").write_text(CODE.format(canary=str(canary)))
    config = {"model_type": "strange", "auto_map": {"AutoConfig": "strange.Strange"}}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"weight": torch.zeros(1)}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("load", [load_model, load_tokenizer, model_size])
def test_code_of_a_model_does_not_run(load, model: Path, canary: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(ModelSettings(path=str(model)))
    assert not canary.exists()


def test_where_the_config_says_so_it_does(model: Path, canary: Path) -> None:
    """Or the tests above would pass whatever they do."""
    with pytest.raises(ModelError):  # the config loads, and no model has it
        load_model(ModelSettings(path=str(model), trust_remote_code=True))
    assert canary.exists()


@pytest.mark.parametrize("trusted", [True, False])
def test_a_sweep_warns_before_it_does_anything(
    tmp_path: Path, messages: list[str], trusted: bool
) -> None:
    with pytest.raises(DataError):  # the pairs are missing, which is found out next
        run_sweep(_config(trusted), SweepPaths.of_folder(str(tmp_path / "s")), None)
    assert [line.startswith("model.trust_remote_code: ") for line in messages] == (
        [True] if trusted else []
    )


def _config(trusted: bool) -> SweepConfig:
    text = f"""
name: strange
model: {{path: strange/model, trust_remote_code: {str(trusted).lower()}}}
data: {{path: nowhere.jsonl}}
space: lora
training: {{max_steps: 4}}
"""
    return parse_sweep(text, source="sweep.yaml")
