"""Checkpoints: safetensors and JSON only, written by rank 0, whole once `manifest.json` is there.

adapter_model.safetensors + adapter_config.json     with LoRA, or
model.safetensors + config.json                     the whole model
optimizer.safetensors, scheduler.json,
trainer_state.json                                  what resuming needs
manifest.json                                       what it describes, written last
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from dpo_core.storage.json_content import DamagedJson, decode_json, encode_json
from dpo_core.storage.names import stays_inside

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from transformers import Trainer

MANIFEST = "manifest.json"
_OPTIMIZER, _SCHEDULER = "optimizer.safetensors", "scheduler.json"
_TRAINER_STATE = "trainer_state.json"  # Transformers' own name
_VERSIONS = ("torch", "transformers", "trl", "peft", "ray", "optuna")


def save(trainer: Trainer, folder: Path) -> None:
    """Save weights, optimizer and trainer state of a running trainer into an empty `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    model = trainer.accelerator.unwrap_model(trainer.model)
    # Only adapters end up in the file when there are any; a base model is never copied per trial.
    model.save_pretrained(folder, safe_serialization=True)
    save_file(_optimizer_tensors(trainer.optimizer), folder / _OPTIMIZER)
    (folder / _SCHEDULER).write_text(json.dumps(_scheduler_numbers(trainer.lr_scheduler)))
    trainer.state.save_to_json(str(folder / _TRAINER_STATE))
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card


def write_manifest(folder: Path, about: Mapping[str, object]) -> None:
    """Write what the checkpoint is, the packages' versions and the digests of its files."""
    files = {p.name: _digest(p) for p in sorted(folder.iterdir()) if p.name != MANIFEST}
    content = {**about, "versions": versions(), "files": files}
    (folder / MANIFEST).write_bytes(encode_json(content))


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a whole checkpoint.

    Raises FileNotFoundError without a manifest, and ValueError when it is damaged or another file is
    missing or has not the digest that the manifest gives.
    """
    try:
        manifest = decode_json((folder / MANIFEST).read_bytes())
    except DamagedJson as error:
        raise ValueError(f"{folder}/{MANIFEST} {error}; the checkpoint is not whole") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ValueError(f"{folder}/{MANIFEST} is damaged; the checkpoint is not whole")
    for name, digest in manifest["files"].items():
        if not stays_inside(name):
            raise ValueError(f"{folder}/{MANIFEST} names {name!r}, which leaves the checkpoint")
        if not (folder / name).is_file() or _digest(folder / name) != digest:
            raise ValueError(f"{folder}/{name} is missing or damaged; the checkpoint is not whole")
    return manifest


def load_training_state(folder: Path, optimizer: Optimizer, scheduler: LRScheduler) -> None:
    """Load the optimizer's moments and the schedule's position as they were at `save`.

    Args:
        folder: A checkpoint.
        optimizer: A new optimizer of the same parameters; it is changed in place.
        scheduler: Its new learning-rate schedule; it is changed in place.
    """
    moments = _unflatten(load_file(folder / _OPTIMIZER))
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    schedule = json.loads((folder / _SCHEDULER).read_text())
    scheduler.load_state_dict({**scheduler.state_dict(), **schedule})
    for group, learning_rate in zip(optimizer.param_groups, schedule["_last_lr"], strict=True):
        group["lr"] = learning_rate


@cache
def versions() -> dict[str, str]:
    """Return the versions of the packages that decide what a trial computes."""
    return {name: version(name) for name in _VERSIONS}  # cached: reading them takes 30 ms


def _optimizer_tensors(optimizer: Optimizer) -> dict[str, torch.Tensor]:
    return {
        f"{index}.{name}": torch.as_tensor(value).detach().cpu().contiguous()
        for index, moments in optimizer.state_dict()["state"].items()
        for name, value in moments.items()
    }


def _scheduler_numbers(scheduler: LRScheduler) -> dict[str, Any]:
    # The functions of the schedule come from the config; only its position is state.
    numbers = (int, float, list)
    state = scheduler.state_dict().items()
    return {k: v for k, v in state if isinstance(v, numbers) and k != "lr_lambdas"}


def _unflatten(tensors: dict[str, torch.Tensor]) -> dict[int, dict[str, torch.Tensor]]:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    return state


def _digest(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
