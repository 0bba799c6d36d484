"""The activations that a training step keeps, by measurement: architectures differ four-fold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dpo_core.encoding.packing import Row
from dpo_core.scoring.logprobs import token_logps
from dpo_core.scoring.row_layout import RowLayout

if TYPE_CHECKING:
    from dpo_core.models.load import CausalModel


@torch.enable_grad()
def kept_bytes_per_token(model: CausalModel, row: Row, layout: RowLayout) -> float:
    """Measure what a forward pass keeps for the backward pass, beside the weights.

    Args:
        model: The untouched model, in the precision in which it is trained.
        row: The pairs that are run.
        layout: How they go through the model.

    Returns:
        Bytes for each token of the row.
    """
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logps = token_logps(model, row, layout)
    del logps  # until here the graph holds what it keeps, so that no address is used twice
    return sum(kept.values()) / row.input_ids.shape[1]
