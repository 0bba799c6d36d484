"""The share of a model that a LoRA adapter changes, counted without weights.

Tested in tests/unit/dpo_core/models/test_lora_targets.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import nn

from dpo_core.models.lora_targets import body_weights, end_of, lora_config
from dpo_core.settings import LoraSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Coverage:
    """Counts of weights. The body is what lies between embeddings and head."""

    body: int
    adapted: int
    """Weights of the body that the adapter changes."""
    trained: int
    """Weights of the adapter."""
    folded: int
    """Weights of the model to which PEFT adds the product at each pass, such as those of experts."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Weights of the body that stay as they are, by the end of their names."""


def adapt_and_count(model: PreTrainedModel, settings: LoraSettings) -> Coverage:
    """Put an adapter into a model, and count what it changes.

    Args:
        model: A model without weights, on the meta device; it is changed in place.
        settings: The adapter.

    Returns:
        The counts.

    Raises:
        ModelError: A target cannot be trained.
    """
    from peft import get_peft_model
    from peft.tuners.lora.layer import ParamWrapper
    from peft.tuners.tuners_utils import BaseTunerLayer

    body = body_weights(model)
    adapted = get_peft_model(model, lora_config(settings, None, model))
    changed: dict[int, nn.Parameter] = {}
    folded: dict[int, nn.Parameter] = {}
    for layer in adapted.modules():
        if isinstance(layer, ParamWrapper):
            folded[id(layer.get_param())] = layer.get_param()
        elif isinstance(layer, BaseTunerLayer):
            weight = layer.get_base_layer().weight
            changed[id(weight)] = weight
    left_out: Counter[str] = Counter()
    for name, weight in body.items():
        if id(weight) not in changed and id(weight) not in folded:
            left_out[end_of(name)] += weight.numel()
    size = sum(weight.numel() for weight in body.values())
    return Coverage(
        size,
        size - left_out.total(),
        sum(p.numel() for p in adapted.parameters() if p.requires_grad),
        sum(weight.numel() for weight in folded.values()),
        dict(left_out.most_common()),
    )
