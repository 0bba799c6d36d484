"""The weights that a LoRA adapter changes: `model.adapter.targets`, looked up in the model.

`all-linear` are the linear layers and the stacked matrices of experts between embeddings and head.
What computes otherwise than x Wᵀ (a router that returns two tensors), what PEFT refuses and what never
sees text (a vision tower) is left out; naming it is an error that says what would work.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from dpo_core.errors import ModelError
from dpo_core.settings import LoraSettings

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel

ALL_LINEAR = "all-linear"


def lora_config(settings: LoraSettings, rank: int | None, model: PreTrainedModel) -> LoraConfig:
    """Build PEFT's config.

    Args:
        settings: The adapter.
        rank: A searched rank, which keeps alpha/rank, so it does not move the step size; or None.
        model: The model without adapters, on any device.

    Returns:
        The config, which names the adapted weights as PEFT looks them up in the model.

    Raises:
        ModelError: A target cannot be trained, or dropout is wanted where PEFT has none.
    """
    from peft import LoraConfig

    modules, parameters = lora_targets(model, settings.targets)
    if parameters and settings.dropout:
        raise ModelError(
            f"model.adapter.dropout: {settings.dropout:g}, but PEFT has none for {parameters[0]}; set "
            f"it to 0, or name other targets: {', '.join(modules)}"
        )
    r = rank or settings.rank
    return LoraConfig(
        r=r,
        lora_alpha=settings.alpha * r / settings.rank,
        target_modules=modules,
        target_parameters=parameters or None,
        lora_dropout=settings.dropout,
        bias="none",
        task_type="CAUSAL_LM",
    )


def lora_targets(
    model: PreTrainedModel, targets: str | Collection[str]
) -> tuple[list[str], list[str]]:
    """Look up what an adapter changes.

    Args:
        model: The model without adapters, on any device.
        targets: `all-linear`, a regular expression for whole names, or ends of names.

    Returns:
        Ends of names of modules and of parameters that match what is meant, and nothing else.

    Raises:
        ModelError: One of the targets cannot be trained, with those that would work.
    """
    parts = _Parts(model)
    if targets == ALL_LINEAR:
        wanted = parts.linear | parts.stacks
        if not wanted:
            raise ModelError(
                f"model.adapter: {type(model).__name__} has no linear layer or experts that LoRA could "
                "change; train every weight with adapter: null"
            )
    elif isinstance(targets, str):
        wanted = {name for name in parts.possible if re.fullmatch(targets, name)}
        if not wanted:
            raise parts.error(targets)
    else:
        wanted = set[str]().union(*(parts.named(target) for target in targets))
    modules = wanted & (parts.linear | parts.embeddings)
    rewritten = _rewritten_by_peft(model, modules)
    parameters = (wanted - modules) | {f"{name}.weight" for name in rewritten}
    return (
        _shortest_ends(modules - rewritten, parts.modules.keys()),
        _shortest_ends(parameters, parts.parameters.keys()),
    )


def body_weights(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Return the weights between embeddings and head, by name; without towers of other modalities."""
    parts = _Parts(model)
    return {name: weight for name, weight in parts.parameters.items() if name in parts.body}


def end_of(name: str) -> str:
    """Return the part of a name behind the number of its layer."""
    return re.split(r"\.\d+\.", name)[-1]


@dataclass(frozen=True)
class _Parts:
    """The parts of a model that an adapter may change; all sets are of names."""

    model: PreTrainedModel

    @cached_property
    def modules(self) -> dict[str, nn.Module]:
        return dict(self.model.named_modules())

    @cached_property
    def parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.model.named_parameters())

    @cached_property
    def text_modules(self) -> set[str]:
        """Return the modules that see text, without the head."""
        decoder, head = self.model.get_decoder(), self.model.get_output_embeddings()
        decoder = None if decoder is head else decoder  # some call their head so
        root = next((name for name, module in self.modules.items() if module is decoder), "")
        inside = {name for name in self.modules if not root or name.startswith(f"{root}.")}
        return {name for name in inside | {root} if name and self.modules[name] is not head}

    @cached_property
    def embeddings(self) -> set[str]:
        """Return the embeddings that look rows up, which others in the code of a model do not."""
        main = self.model.get_input_embeddings()
        modules = ((name, self.modules[name]) for name in self.text_modules)
        return {name for name, m in modules if m is main or type(m) is nn.Embedding}

    @cached_property
    def body(self) -> set[str]:
        tables = {id(table.weight) for table in self._tables if table is not None}
        return {
            name
            for name, parameter in self.parameters.items()
            if name.rpartition(".")[0] in self.text_modules
            and not isinstance(self._module_of(name), nn.Embedding)
            and id(parameter) not in tables
        }

    @cached_property
    def linear(self) -> set[str]:
        """Return the linear layers that LoRA can train."""
        adapts: dict[type[nn.Module], bool] = {}
        linear = set()
        for name in self.text_modules:
            module = self.modules[name]
            if f"{name}.weight" not in self.body or not isinstance(module, nn.Linear | Conv1D):
                continue
            if type(module) not in adapts:
                adapts[type(module)] = _maps_rows(module)
            if adapts[type(module)] and not self._is_bypassed(name):
                linear.add(name)
        return linear

    @cached_property
    def stacks(self) -> set[str]:
        """Return the parameters that are several matrices, one for each expert."""
        return {name for name in self.tensors if self.parameters[name].ndim == 3}

    @cached_property
    def tensors(self) -> set[str]:
        """Return the matrices that are no linear layers; an adapter may change them by name."""
        return {
            name
            for name in self.body
            if not isinstance(self._module_of(name), nn.Linear | Conv1D | nn.modules.conv._ConvNd)
            and self.parameters[name].ndim in (2, 3)
            and min(self.parameters[name].shape) > 1
            and not name.endswith("bias")
        } | self._rows_of_their_own

    @cached_property
    def _rows_of_their_own(self) -> set[str]:
        """Return the weights of linear layers that are no x Wᵀ, such as routers of Llama 4."""
        named = {name.removesuffix(".weight") for name in self.body}
        layers = {n for n in named & self.text_modules if isinstance(self.modules[n], nn.Linear)}
        return {f"{n}.weight" for n in layers - self.linear if not self._is_bypassed(n)}

    @property
    def possible(self) -> set[str]:
        return self.linear | self.embeddings | self.tensors

    def named(self, target: str) -> set[str]:
        """Return what a target names. Raises ModelError when that cannot be trained."""
        names = {name for name in self.possible if _ends_with(name, target)}
        if not names:
            raise self.error(target)
        return names

    def error(self, target: str) -> ModelError:
        """Say why a target cannot be trained, and which could."""
        matches = [n for n in (*self.modules, *self.parameters) if _ends_with(n, target)]
        if not matches:
            why = "names no weight of the model"
        elif f"{matches[0]}.weight" in self.tensors:
            why = f"is no plain linear layer; {end_of(matches[0])}.weight would work"
        elif not any(n.rpartition(".")[0] in self.text_modules for n in matches):
            why = "is outside the body of the language model"
        else:
            why = "cannot be trained by LoRA in this model"
        works = sorted({end_of(name) for name in self.linear | self.stacks})
        return ModelError(
            f"model.adapter.targets: {target!r} {why}; all-linear stands for {', '.join(works)}"
        )

    @property
    def _tables(self) -> tuple[nn.Module | None, nn.Module | None]:
        return self.model.get_input_embeddings(), self.model.get_output_embeddings()

    def _module_of(self, parameter: str) -> nn.Module:
        return self.modules[parameter.rpartition(".")[0]]

    def _is_bypassed(self, name: str) -> bool:
        """Return whether the model reads the layer's weight where it should call the layer."""
        parent, _, leaf = name.rpartition(".")
        in_mamba = hasattr(self.modules[parent], "A_log")
        return (in_mamba and leaf == "dt_proj") or leaf in self._refused_by_peft

    @cached_property
    def _refused_by_peft(self) -> set[str]:
        """Return the last parts of the names of modules that PEFT refuses in this model."""
        from peft import LoraConfig
        from peft.tuners.tuners_utils import _check_lora_target_modules_mamba

        refused, config = set(), LoraConfig()
        for leaf in {name.rpartition(".")[2] for name in self.text_modules}:
            try:
                _check_lora_target_modules_mamba(config, self.model, leaf)
            except ValueError:
                refused.add(leaf)
        return refused


def _maps_rows(layer: nn.Linear | Conv1D) -> bool:
    """Return whether a layer gives one tensor of its outputs, to which LoRA can add its product."""
    if type(layer) in (nn.Linear, Conv1D):
        return True
    weight: torch.Tensor = layer.weight
    inputs, outputs = weight.shape if isinstance(layer, Conv1D) else weight.shape[::-1]
    with torch.no_grad():
        result: object = layer(torch.zeros(1, inputs, dtype=weight.dtype, device=weight.device))
    return isinstance(result, torch.Tensor) and result.shape == (1, outputs)


def _rewritten_by_peft(model: PreTrainedModel, modules: Collection[str]) -> set[str]:
    """Return the modules whose names PEFT takes for those of experts of an earlier Transformers.

    It would put an adapter on the experts instead; as parameters such modules are left as named.
    """
    from peft import LoraConfig
    from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

    config = LoraConfig(target_modules=list(modules))
    convert_peft_config_for_transformers(config, model, conversions=None)
    return set(modules) - set(config.target_modules)


def _shortest_ends(names: Collection[str], all_names: Iterable[str]) -> list[str]:
    """Return the parts behind the layers' numbers; whole names where such a part names others too."""
    others = [name for name in all_names if name not in names]
    ends = set()
    for end in {end_of(name) for name in names}:
        if any(_ends_with(other, end) for other in others):
            ends |= {name for name in names if end_of(name) == end}
        else:
            ends.add(end)
    return sorted(ends)


def _ends_with(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")
