"""Checkpoints: no pickles, whole or refused, and a state that loads back as it was."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dpo_core.hyperparams import DPOHyperparams
from dpo_core.settings import LoraSettings, ModelSettings, TrainingSettings
from dpo_core.training.checkpoints import (
    load_training_state,
    read_manifest,
    save,
    versions,
    write_manifest,
)
from dpo_core.training.trainer import train
from tests.support.toys import toy_data, toy_llama, toy_tokenizer


@pytest.fixture(scope="module", params=["lora", "full"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last checkpoint of a real trial of two steps."""
    folder: Path = tmp_path_factory.mktemp(request.param) / "checkpoint"
    model = toy_llama()
    train(
        model,
        toy_tokenizer(),
        toy_data(model),
        DPOHyperparams(learning_rate=1e-3, beta=0.1),
        model_settings=ModelSettings(
            path="toy", adapter=LoraSettings(rank=4) if request.param == "lora" else None
        ),
        training=TrainingSettings(max_steps=2, evaluations=1, row_tokens=96),
        seed=0,
        workdir=folder.parent,
        on_evaluation=lambda evaluation: evaluation.save(folder),
    )
    return folder


def test_files_are_safetensors_and_json_only(checkpoint: Path) -> None:
    files = {p.name for p in checkpoint.rglob("*") if p.is_file()}
    assert {Path(name).suffix for name in files} == {".safetensors", ".json"}
    assert {"optimizer.safetensors", "scheduler.json", "trainer_state.json"} <= files


def test_no_file_is_a_pickle(checkpoint: Path) -> None:
    for path in checkpoint.rglob("*.safetensors"):
        start = path.read_bytes()[:9]
        assert start[8:9] == b"{", path.name  # 8 bytes of length, then a JSON header
    for path in checkpoint.rglob("*.json"):
        json.loads(path.read_text())


def test_the_trainer_state_knows_its_step(checkpoint: Path) -> None:
    assert json.loads((checkpoint / "trainer_state.json").read_text())["global_step"] == 2


# --- the manifest -----------------------------------------------------------------------------


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    write_manifest(tmp_path, {"trial": "a1", "step": 7})
    return tmp_path


def test_a_whole_checkpoint_says_what_it_is(whole: Path) -> None:
    manifest = read_manifest(whole)
    assert (manifest["trial"], manifest["step"]) == ("a1", 7)
    assert set(manifest["files"]) == {"model.safetensors", "config.json"}
    assert manifest["versions"] == versions()
    assert {"torch", "transformers", "trl", "peft"} <= set(versions())


def test_a_manifest_can_be_written_again(whole: Path) -> None:
    write_manifest(whole, {"trial": "a2"})
    assert read_manifest(whole)["trial"] == "a2"
    assert "manifest.json" not in read_manifest(whole)["files"]


def flip(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"wEights")


def tear(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"wei")


def lose(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize("damage", [flip, tear, lose])
def test_damage_is_found(whole: Path, damage: Callable[[Path], None]) -> None:
    damage(whole)
    with pytest.raises(ValueError, match=r"model\.safetensors is missing or damaged"):
        read_manifest(whole)


def test_a_torn_manifest_is_no_manifest(whole: Path) -> None:
    manifest = whole / "manifest.json"
    manifest.write_text(manifest.read_text()[:-20])
    with pytest.raises(ValueError, match=r"manifest.json is cut off; the checkpoint is not whole"):
        read_manifest(whole)


def test_a_checkpoint_without_a_manifest_is_not_whole(whole: Path) -> None:
    (whole / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError):
        read_manifest(whole)


# --- optimizer and schedule -------------------------------------------------------------------


class Plain(torch.nn.Linear):
    """A model that can be saved; its weights do not matter here."""

    def save_pretrained(self, folder: Path, **_: Any) -> None:
        """Nothing."""


def half_way() -> SimpleNamespace:
    """What `save` reads of a trainer, after three steps of AdamW on a falling schedule."""
    torch.manual_seed(0)
    model = Plain(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    for _ in range(3):
        model(torch.randn(4, 3)).square().mean().backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return SimpleNamespace(
        model=model,
        optimizer=optimizer,
        lr_scheduler=schedule,
        accelerator=SimpleNamespace(unwrap_model=lambda model: model),
        state=SimpleNamespace(save_to_json=lambda path: Path(path).write_text("{}")),
    )


def test_optimizer_and_schedule_load_back_as_they_were(tmp_path: Path) -> None:
    trainer = half_way()
    save(trainer, tmp_path / "checkpoint")
    model = copy.deepcopy(trainer.model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    load_training_state(tmp_path / "checkpoint", optimizer, schedule)

    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / 4)
    assert schedule.last_epoch == 3
    saved, loaded = (o.state_dict()["state"] for o in (trainer.optimizer, optimizer))
    assert saved.keys() == loaded.keys() == {0, 1}
    for index, moments in saved.items():
        assert moments.keys() == loaded[index].keys()
        assert all(torch.equal(v, loaded[index][k]) for k, v in moments.items())
    # And the next step is the same step.
    for net, optim, plan in (
        (trainer.model, trainer.optimizer, trainer.lr_scheduler),
        (model, optimizer, schedule),
    ):
        net(torch.ones(1, 3)).sum().backward()
        optim.step()
        plan.step()
    assert torch.equal(model.weight, trainer.model.weight)
    assert schedule.get_last_lr() == trainer.lr_scheduler.get_last_lr()
