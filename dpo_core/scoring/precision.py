"""Scoring in the model's own dtype or in float32, whatever the dtype of its weights.

A margin is a difference of sums over hundreds of tokens: in bfloat16 it is off by half a nat. A model
that was loaded in bfloat16 to be trained scores in float32 without a second model in memory: what
stands outside its layers is upcast while scores are computed, each layer only while it runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dpo_core.models.load import autocast
from dpo_core.settings import FLOAT32, ModelSettings

if TYPE_CHECKING:
    from dpo_core.models.load import CausalModel

_HALF = (torch.bfloat16, torch.float16)


@contextlib.contextmanager
def scoring_precision(model: CausalModel, settings: ModelSettings, dtype: str) -> Iterator[None]:
    """Score in `dtype` while the context lasts.

    Args:
        model: The policy or the reference, on its device; it may be in training.
        settings: The dtype in which it is trained, and its adapter.
        dtype: "float32", or the dtype of the settings; empty means the latter.

    Returns:
        A context, which yields nothing.
    """
    dtype = dtype or settings.dtype
    device = next(model.parameters()).device.type
    with contextlib.ExitStack() as stack:
        if dtype != FLOAT32:
            stack.enter_context(autocast(settings, device))
        elif settings.dtype != FLOAT32:
            stack.enter_context(torch.autocast(device, enabled=False))
            stack.enter_context(_without_mixed_precision(model))
            stack.enter_context(upcast_weights(model))
        if dtype == FLOAT32:
            stack.enter_context(_without_tf32())
        yield


@contextlib.contextmanager
def upcast_weights(model: nn.Module) -> Iterator[None]:
    """Compute in float32 with the weights as they are; they come back when the context ends.

    The layers (the outermost lists of modules) are upcast one at a time, each while it runs. All
    else, which is embeddings, last norm and head, is upcast for as long as the context lasts.
    """
    layers = _layers(model)
    in_layers = {id(tensor) for layer in layers for tensor in _half_tensors(layer)}
    outside = [tensor for tensor in _half_tensors(model) if id(tensor) not in in_layers]
    with contextlib.ExitStack() as stack:
        stack.enter_context(_upcast(outside))
        for layer in layers:
            stack.enter_context(_upcast_while_it_runs(layer))
        yield


@contextlib.contextmanager
def _upcast_while_it_runs(layer: nn.Module) -> Iterator[None]:
    running = contextlib.ExitStack()

    def upcast(*_: object) -> None:
        running.enter_context(_upcast(_half_tensors(layer)))

    before = layer.register_forward_pre_hook(upcast)
    after = layer.register_forward_hook(lambda *_: running.close(), always_call=True)
    try:
        yield
    finally:
        before.remove()
        after.remove()
        running.close()


@contextlib.contextmanager
def _upcast(tensors: Iterable[Tensor]) -> Iterator[None]:
    stored = [(tensor, tensor.data) for tensor in tensors]
    try:
        for tensor, data in stored:
            tensor.data = data.float()
        yield
    finally:
        for tensor, data in stored:
            tensor.data = data


def _layers(module: nn.Module) -> list[nn.Module]:
    """Return the members of the outermost lists of modules."""
    if isinstance(module, nn.ModuleList):
        return list(module)
    return [layer for child in module.children() for layer in _layers(child)]


def _half_tensors(module: nn.Module) -> list[Tensor]:
    """Return parameters and buffers of half precision, each once."""
    tensors = [*module.parameters(), *module.buffers()]
    return [tensor for tensor in tensors if tensor.dtype in _HALF]


@contextlib.contextmanager
def _without_mixed_precision(model: nn.Module) -> Iterator[None]:
    """Take away the autocast that Accelerate puts around `forward` of a model in training."""
    original, wrapped = (model.__dict__.get(n) for n in ("_original_forward", "forward"))
    if original is None or wrapped is None:
        yield
        return
    model.__dict__["forward"] = original
    try:
        yield
    finally:
        model.__dict__["forward"] = wrapped


@contextlib.contextmanager
def _without_tf32() -> Iterator[None]:
    """Multiply float32 matrices exactly, also where a user's `tf32` lets training do otherwise."""
    products = torch.backends.cuda.matmul
    before, products.fp32_precision = products.fp32_precision, "ieee"
    try:
        yield
    finally:
        products.fp32_precision = before
