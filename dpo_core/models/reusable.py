"""A base model that is loaded once and lent to one training after the other.

What comes back is what was lent: adapters gone, weights and forward as they were. A trial on a
returned model therefore computes the same numbers as one on a freshly loaded model.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from dpo_core.errors import TrialFailed
from dpo_core.models.load import load_model
from dpo_core.settings import ModelSettings


class ReusableModel:
    """Loads at the first loan. Full fine-tuning keeps a copy of the weights in main memory."""

    def __init__(self, settings: ModelSettings, device: str) -> None:
        self.settings, self.device = settings, device
        self.model: Any = None
        self.weights: dict[str, torch.Tensor] = {}

    @contextlib.contextmanager
    def restored_after_use(self) -> Iterator[Any]:
        """The untouched base model. Restored afterwards; after an error of unknown kind it is
        dropped, and the next loan loads it again."""
        if self.model is None:
            self._load()
        try:
            yield self.model
        except TrialFailed:
            self._restore()
            raise
        except BaseException:
            self.model = None
            gc.unfreeze()
            raise
        self._restore()

    def _load(self) -> None:
        self.model = load_model(self.settings, self.device)
        if self.settings.adapter is None:
            state = self.model.state_dict()
            self.weights = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        # Modules, pairs and model stay for the process's life. Each trial collects garbage twice,
        # and would look through all of them: 0.4 s a time.
        gc.freeze()

    def _restore(self) -> None:
        remove_adapters(self.model)
        # TRL and accelerate put their own forward on the instance; the class has the original.
        # A model that counts as prepared would not get accelerate's precision again.
        for name in ("forward", "_original_forward", "_is_accelerate_prepared"):
            self.model.__dict__.pop(name, None)
        if self.weights:
            self.model.load_state_dict(self.weights)
        self.model.requires_grad_(True).zero_grad(set_to_none=True)
        self.model.eval()
        gc.collect()  # a trainer is full of cycles, and holds the optimizer


def remove_adapters(model: Any) -> None:
    """Put every adapted module's own layer back, without merging."""
    adapted = [(n, m) for n, m in model.named_modules() if isinstance(m, BaseTunerLayer)]
    for name, module in adapted:
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, module.get_base_layer())
    model.__dict__.pop("peft_config", None)
    model._hf_peft_config_loaded = False
