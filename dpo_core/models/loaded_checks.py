"""Checks of a loaded model against its tokenizer and the data, before anything is computed with it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open

from dpo_core.errors import ModelError
from dpo_core.models.folder_checks import CONFIG_FILE, weight_files
from dpo_core.models.load import model_folder
from dpo_core.settings import ModelSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_PROBE_TOKENS = 16
_NOISE = 1e-4
"""The most that a later token may move logits before it, relative to their spread: rounding alone."""


def check_numbers(path: str, model: PreTrainedModel) -> None:
    """Refuse weights that are no numbers.

    Args:
        path: What the settings call the model.
        model: The model, on any device.

    Raises:
        ModelError: A weight is NaN or infinite; the message names its tensor.
    """
    for name, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            fp16 = weight.dtype is torch.float16  # numbers above 65,504 are infinite there
            raise ModelError(
                f"model.path: {path}: {name} holds NaN or infinite numbers{' in float16' * fp16}, so "
                "nothing can be computed with it; "
                + ("set model.dtype: bfloat16, or " if fp16 else "")
                + "fetch or save the model again"
            )


def check_loaded_numbers(settings: ModelSettings, model: PreTrainedModel) -> None:
    """Refuse a model that does not hold the numbers of its files, but new random ones at each load.

    Code that ships with a model may initialize its weights again after they were loaded. No list of
    names tells of that, so the first row of each tensor is compared with that of the file. Transformers
    converts some tensors, which therefore differ; so the model is loaded again where any does.

    Args:
        settings: How the model was loaded.
        model: The untouched model, on any device.

    Raises:
        ModelError: A tensor is another one at each load; the message names it.
    """
    from dpo_core.models.reusable import changed_tensors

    if not _other_numbers(model, weight_files(settings.path, model_folder(settings))):
        return
    changed = sorted(changed_tensors(model, settings))
    if changed:
        raise ModelError(
            f"model.path: {settings.path}: {changed[0]} is another one at each load, so {len(changed)} "
            "of its tensors start at random; save the model with the code that loads it, or give another"
        )


def _other_numbers(model: PreTrainedModel, files: Iterable[Path]) -> bool:
    """Return whether a tensor's first row is another one than that of the same name in the files."""
    own = model.state_dict()
    for file in files:
        with safe_open(file, framework="pt") as content:
            for name in own.keys() & set(content.keys()):
                stored, tensor = content.get_slice(name), own[name]
                if tensor.ndim and list(tensor.shape) == stored.get_shape():
                    first = tensor[:1].cpu()
                    if not torch.equal(first, stored[:1].to(first.dtype)):
                        return True
    return False


def check_vocabulary(
    path: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, largest_id: int = 0
) -> None:
    """Refuse a tokenizer whose tokens the model has no embedding for.

    Tokens that neither the data nor the special tokens use may lie beyond the embeddings: Gemma 3 has
    a token for images there that its text model lacks.

    Args:
        path: What the settings call the model.
        model: The model, on any device.
        tokenizer: Its tokenizer.
        largest_id: The largest id of a token in the data.

    Raises:
        ModelError: A token that is used is beyond the model's embeddings.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    used = {
        "the data": largest_id,
        "eos_token": tokenizer.eos_token_id,
        "pad_token": tokenizer.pad_token_id,
        "bos_token": tokenizer.bos_token_id,
    }
    for where, token in used.items():
        if token is not None and token >= rows:
            raise ModelError(
                f"model.path: {path}: its tokenizer has {len(tokenizer)} tokens, and {where} uses "
                f"number {token}, but the model has embeddings for {rows}; give the tokenizer of this "
                "model, or save the model after resize_token_embeddings"
            )


def check_positions(path: str, model: PreTrainedModel, longest: int) -> None:
    """Refuse pairs that are longer than the model has positions for.

    Args:
        path: What the settings call the model.
        model: The model, on any device.
        longest: The tokens of the longest prompt with its longer answer.

    Raises:
        ModelError: They are; the message says what to set.
    """
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if isinstance(limit, int) and 0 < limit < longest:
        raise ModelError(
            f"model.path: {path}: the model has {limit} positions, and the longest pair needs "
            f"{longest}; set data.max_tokens to {limit} or less"
        )


@torch.no_grad()
def check_causality(path: str, model: PreTrainedModel) -> None:
    """Refuse a model that sees later tokens, such as an encoder: it cannot score a text by its tokens.

    Args:
        path: What the settings call the model.
        model: The model, on its device, in the precision in which it is to compute.

    Raises:
        ModelError: Another last token moves the logits of the tokens before it, or they are NaN.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    ids = torch.arange(_PROBE_TOKENS, device=model.device)[None] % rows
    other = ids.clone()
    other[0, -1] = rows // 2
    first, second = (model(input_ids=each).logits[0, :-1].float() for each in (ids, other))
    if torch.isnan(first).any():
        raise ModelError(
            f"model.path: {path}: its logits are NaN, though its weights are numbers, so {CONFIG_FILE} "
            "is of another model, or holds a wrong number; fetch or save the model again"
        )
    if (first - second).abs().max() > _NOISE * first.std():
        raise ModelError(
            f"model.path: {path}: its logits depend on tokens that come later, so it is an encoder, or "
            "was loaded as one; give a decoder-only model"
        )
