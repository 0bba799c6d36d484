"""A base model that is loaded once and used by one trial after the other.

After each use it is restored: adapters removed, weights and forward as they were. A trial on a
restored model therefore computes the same numbers as one on a freshly loaded model.
"""

from __future__ import annotations

import contextlib
import gc
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from dpo_core.errors import TrialFailed
from dpo_core.models.load import load_model
from dpo_core.settings import ModelSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ReusableModel:
    """A model that loads at its first use and is restored after each.

    For full fine-tuning it keeps a copy of the weights in main memory.
    """

    def __init__(self, settings: ModelSettings, device: str) -> None:
        self.settings, self.device = settings, device
        self.model: PreTrainedModel | None = None
        self.weights: dict[str, torch.Tensor] = {}

    @classmethod
    def of(cls, model: PreTrainedModel, settings: ModelSettings) -> ReusableModel:
        """Make a model reusable that is loaded already, by these settings."""
        reusable = cls(settings, str(model.device))
        reusable.model = model
        reusable._keep_copy(model)
        return reusable

    @contextlib.contextmanager
    def restored_after_use(self) -> Iterator[PreTrainedModel]:
        """Yield the untouched base model, and restore it afterwards.

        After an error other than TrialFailed the model is dropped, and the next use loads it again.
        """
        if self.model is None:
            self.model = self._load()
        try:
            yield self.model
        except TrialFailed:
            self._restore(self.model)
            raise
        except BaseException:
            self.model = None
            gc.unfreeze()
            raise
        self._restore(self.model)

    def _load(self) -> PreTrainedModel:
        model = load_model(self.settings, self.device)
        self._keep_copy(model)
        # Modules, pairs and model stay as long as the process. Each trial collects garbage twice,
        # which would look through all of them: 0.4 s each time.
        gc.freeze()
        return model

    def _keep_copy(self, model: PreTrainedModel) -> None:
        """Keep the weights in main memory if training changes them."""
        if self.settings.adapter is None:
            state = model.state_dict()
            self.weights = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}

    def _restore(self, model: PreTrainedModel) -> None:
        _remove_adapters(model)
        # TRL and accelerate put their own forward on the instance; the class has the original.
        # A model marked as prepared would not get accelerate's precision again.
        for name in ("forward", "_original_forward", "_is_accelerate_prepared"):
            model.__dict__.pop(name, None)
        if self.weights:
            model.load_state_dict(self.weights)
        model.requires_grad_(True).zero_grad(set_to_none=True)
        model.eval()
        gc.collect()  # a trainer is full of cycles, and holds the optimizer


def changed_tensors(model: PreTrainedModel, settings: ModelSettings) -> dict[str, float]:
    """Compare a model with freshly loaded weights.

    Args:
        model: A model without adapters.
        settings: How it was loaded.

    Returns:
        By name, the largest difference of each tensor that differs; infinite for one that only one of
        the two has.
    """
    fresh, own = load_model(settings).state_dict(), model.state_dict()
    changed = {}
    for name in [*fresh, *(own.keys() - fresh.keys())]:
        if name not in fresh or name not in own:
            changed[name] = math.inf
        elif not torch.equal(own[name].cpu(), fresh[name]):
            changed[name] = float((own[name].cpu().float() - fresh[name].float()).abs().max())
    return changed


def _remove_adapters(model: PreTrainedModel) -> None:
    """Put every adapted module's own layer back, without merging.

    PEFT wraps a module with two adapted parameters twice: the outer layer knows the module that both
    wrap. Its own `unload` is of the PeftModel, and moves weights of modules that have none.
    """
    adapted = {n: m for n, m in model.named_modules() if isinstance(m, BaseTunerLayer)}
    for name, module in adapted.items():
        parent, _, child = name.rpartition(".")
        if parent not in adapted:
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    model.__dict__.pop("peft_config", None)
    model._hf_peft_config_loaded = False
