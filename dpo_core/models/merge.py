"""Whole models of what was trained, written tensor by tensor in the dtype that is asked for.

A LoRA adapter's product is added to the base weights in float32 before the sum is rounded to the
stored dtype: in bfloat16, whose numbers near 1 are 0.008 apart, most of a small product is lost.
PEFT merges the adapters whose product is no plain matrix; for that it loads the model.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftConfig, PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import Embedding, Linear
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor, nn

from dpo_core.models.dropout import is_dropout
from dpo_core.models.load import load_model, load_shapes, model_folder
from dpo_core.models.weight_files import ADAPTER_FILE, WeightFiles, write_weights
from dpo_core.settings import ModelSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ADAPTER = "default"  # PEFT's name of an adapter that has none of its own
_PREFIX = "base_model.model."  # of PEFT's names of tensors
_FACTORS = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B")


def write_merged(
    settings: ModelSettings, adapter: Path, target: Path, dtype: torch.dtype | None
) -> None:
    """Write the base model with a LoRA adapter's product added to its weights.

    Args:
        settings: The base model. Its weights count as they are under the adapter: rounded to the
            dtype of the settings.
        adapter: A folder with the adapter, as PEFT saves it.
        target: A folder for weights and config.
        dtype: The dtype of the stored weights; None keeps that of each tensor of the base model.

    Raises:
        ModelError: The base model cannot be loaded.
    """
    base = model_folder(settings)
    files = WeightFiles(base)
    changes = _plain_changes(settings, files, adapter)
    if changes is None:
        _write_merged_by_peft(settings, adapter, target, dtype)
        return
    loaded_dtype = getattr(torch, settings.dtype)

    def compute(name: str) -> Tensor:
        weight = files.read(changes.copies.get(name, name))
        if not weight.is_floating_point():
            return weight
        product = changes.products.get(name)
        weight = weight.to(loaded_dtype)
        return weight if product is None else weight.float() + product()

    outlines = files.outlines | {new: files.outlines[old] for new, old in changes.copies.items()}
    _write(target, outlines, dtype, compute)
    _write_config(base, base, target, dtype, tied=not changes.unties)


def write_converted(source: Path, base: Path, target: Path, dtype: torch.dtype | None) -> None:
    """Write a whole model with weights of another dtype.

    Args:
        source: A folder with the model.
        base: A folder with the model that it was trained from.
        target: A folder for weights and config.
        dtype: The dtype of the stored weights; None takes that of the base model's tensors.
    """
    files, base_files = WeightFiles(source), WeightFiles(base)
    like, main_dtype = base_files.outlines, base_files.main_dtype
    outlines = {
        name: outline.to(like[name].dtype if name in like else main_dtype)
        if outline.is_floating_point()
        else outline
        for name, outline in files.outlines.items()
    }
    _write(target, outlines, dtype, files.read)
    _write_config(source, base, target, dtype)


@dataclass(frozen=True)
class _Changes:
    """The tensors of the base model's files that an adapter changes or adds."""

    products: Mapping[str, Callable[[], Tensor]]
    """What is added to a tensor, by its name; float32."""
    copies: Mapping[str, str]
    """New tensors, each with the name of the one that it is a copy of."""
    unties: bool
    """Whether embeddings and head, which shared their weights, have weights of their own now."""


def _plain_changes(settings: ModelSettings, files: WeightFiles, adapter: Path) -> _Changes | None:
    """Return what the adapter adds to which tensors, or None where it does not only add matrices.

    PEFT puts the adapter into a model without weights: that says which modules it adapts, and how.
    """
    model = load_shapes(settings)
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    is_tied = head is not None and head.weight is embeddings.weight
    names = {module: f"{name}.weight" for name, module in model.named_modules()}
    prefix = f"{model.base_model_prefix}."
    peft_config, factors = (
        PeftConfig.from_pretrained(adapter),
        _Factors(WeightFiles(adapter, ADAPTER_FILE)),
    )
    adapted = PeftModel(model, peft_config, low_cpu_mem_usage=True)
    products: dict[str, Callable[[], Tensor]] = {}
    copies, unties = {}, False
    for name, layer in adapted.named_modules():
        if not isinstance(layer, BaseTunerLayer | AuxiliaryTrainingWrapper):
            continue
        if not _is_plain(layer) or not factors.put_into(layer, name):
            return None
        module = layer.get_base_layer()
        stored = next(
            (n for n in (names[module], names[module].removeprefix(prefix)) if n in files), None
        )
        if (
            stored is None
        ):  # the model's files have it under a name of their own, or in another form
            return None
        products[stored] = _product_of(layer)
        if module is embeddings and is_tied:
            # The head was trained without the adapter, with weights of its own where it has some.
            unties = True
            if names[head] not in files:
                copies[names[head]] = stored
    is_complete = factors.are_used_up and peft_config.bias == "none"
    return _Changes(products, copies, unties) if is_complete else None


class _Factors:
    """The two matrices of each adapted module, as PEFT stores them."""

    def __init__(self, files: WeightFiles) -> None:
        # With an adapted embedding PEFT also stores the weights below it, which are the base's.
        self.files = files
        self.unused = {name for name in files.names if not name.endswith(".base_layer.weight")}

    def put_into(self, layer: LoraLayer, name: str) -> bool:
        """Give a layer its two matrices. Returns False where the file has not got both."""
        for kind in ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B"):
            holder = getattr(layer, kind)
            if _ADAPTER not in holder:
                continue
            is_parameter = isinstance(holder, nn.ParameterDict)
            stored = f"{name}.{kind}" if is_parameter else f"{name}.{kind}.weight"
            if stored not in self.unused:
                return False
            self.unused.remove(stored)
            matrix = nn.Parameter(self.files.read(stored).float(), requires_grad=False)
            if is_parameter:
                holder[_ADAPTER] = matrix
            else:
                holder[_ADAPTER].weight = matrix
        return True

    @property
    def are_used_up(self) -> bool:
        """Return whether every matrix of the file has its place."""
        return not self.unused


def _is_plain(layer: object) -> bool:
    """Return whether a layer computes W·x + scale·B·A·x, without DoRA, biases or the like."""
    from transformers.pytorch_utils import Conv1D

    return (
        type(layer) in (Linear, Embedding)
        and isinstance(layer, LoraLayer)
        and isinstance(layer.get_base_layer(), nn.Linear | Conv1D | nn.Embedding)
        and not layer.lora_variant
        and not any(layer.lora_bias.values())
    )


def _product_of(layer: LoraLayer) -> Callable[[], Tensor]:
    return lambda: layer.get_delta_weight(_ADAPTER)


def _write_merged_by_peft(
    settings: ModelSettings, adapter: Path, target: Path, dtype: torch.dtype | None
) -> None:
    """Let PEFT merge in float32, which takes the memory of the model in float32."""
    adapted = PeftModel.from_pretrained(load_model(settings).float(), adapter)
    _untie_adapted_embeddings(adapted.get_base_model())
    merged = adapted.merge_and_unload()
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        merged.save_pretrained(scratch)
        write_converted(Path(scratch), model_folder(settings), target, dtype)


def _untie_adapted_embeddings(model: PreTrainedModel) -> None:
    """Give the head weights of its own where it is tied to embeddings that an adapter changes.

    The head was trained with the untouched weights; merging would change both.
    """
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    if head is None or not isinstance(embeddings, BaseTunerLayer):
        return
    if head.weight is embeddings.get_base_layer().weight:
        head.weight = nn.Parameter(head.weight.detach().clone())
        for config in (model.config, model.config.get_text_config()):
            config.tie_word_embeddings = False


def _write(
    target: Path,
    outlines: Mapping[str, Tensor],
    dtype: torch.dtype | None,
    compute: Callable[[str], Tensor],
) -> None:
    """Write tensors of these shapes; floating-point ones in `dtype`, or each in its outline's."""
    stored = {
        name: outline.to(dtype) if dtype and outline.is_floating_point() else outline
        for name, outline in outlines.items()
    }
    target.mkdir(parents=True, exist_ok=True)
    write_weights(target, stored, lambda name: compute(name).to(stored[name].dtype))


def _write_config(
    source: Path, base: Path, target: Path, dtype: torch.dtype | None, *, tied: bool = True
) -> None:
    """Copy config and code of the model in `source`; the config says how the weights are stored."""
    config, own = _read_json(source / "config.json"), _read_json(base / "config.json")
    config["use_cache"] = True  # off while training; generation wants it
    _restore_dropout(config, own)
    stored = (
        str(dtype).removeprefix("torch.") if dtype else own.get("dtype", own.get("torch_dtype"))
    )
    _set_dtype(config, stored)
    if not tied:
        config["tie_word_embeddings"] = False
    (target / "config.json").write_text(json.dumps(config, indent=2))
    for file in (*source.glob("*.py"), source / "generation_config.json"):
        if file.is_file():
            shutil.copyfile(file, target / file.name)


def _restore_dropout(config: dict[str, Any], own: dict[str, Any]) -> None:
    """Give a config the dropout of the base model's config, which training sets to 0."""
    for name, value in own.items():
        if isinstance(value, dict) and isinstance(config.get(name), dict):
            _restore_dropout(config[name], value)
        elif name in config and is_dropout(name, value):
            config[name] = value


def _read_json(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def _set_dtype(config: dict[str, Any], dtype: str | None) -> None:
    """Set the dtype of a config and of the configs within it."""
    if dtype is None:
        return
    for name in [key for key in config if key in ("dtype", "torch_dtype")]:
        del config[name]
    config["dtype"] = dtype
    for part in config.values():
        if isinstance(part, dict) and {"dtype", "torch_dtype"} & part.keys():
            _set_dtype(part, dtype)
