"""Dropout and other noise of training, switched off: a policy starts at its reference exactly.

With noise an untouched policy would score otherwise than the reference that it is, the first loss
would not be ln 2, and a trial that resumes would draw other numbers than one that ran through.
"""

from __future__ import annotations

from collections.abc import Iterator

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import PreTrainedConfig


def switch_off_dropout(model: nn.Module) -> None:
    """Set every probability of dropout to 0: of modules, their attributes and their configs.

    Transformers draws dropout in functions as well, with a number that a module or its config has.
    An adapter that is added later keeps its own dropout.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        _set_to_zero(module)
        if isinstance(config := getattr(module, "config", None), PreTrainedConfig):
            for part in _parts(config):
                _set_to_zero(part)


def train_without_noise(model: nn.Module) -> None:
    """Put a model into training mode, but for the parts that would draw random numbers then.

    Jitter and sampling of routers have no name in common, but all depend on that mode. An adapter
    keeps its dropout, and a layer that checkpoints its activations does so in that mode only; what it
    might drop is 0 since `switch_off_dropout`.
    """
    model.train()
    for module in model.modules():
        if module is not model and not getattr(module, "gradient_checkpointing", False):
            module.training = False
    for module in model.modules():
        if isinstance(module, BaseTunerLayer) and hasattr(module, "lora_dropout"):
            module.lora_dropout.train()


def is_dropout(name: str, value: object) -> bool:
    """Return whether a config's key or a module's attribute is a probability of dropout."""
    is_number = isinstance(value, float | int) and not isinstance(value, bool)
    return is_number and "drop" in name


def _set_to_zero(holder: object) -> None:
    for name, value in list(vars(holder).items()):
        if value and is_dropout(name, value):
            setattr(holder, name, 0.0)


def _parts(config: PreTrainedConfig) -> Iterator[PreTrainedConfig]:
    yield config
    for value in vars(config).values():
        if isinstance(value, PreTrainedConfig):
            yield from _parts(value)
