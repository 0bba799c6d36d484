"""Checks of a loaded model against its tokenizer and the data, before anything is computed with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dpo_core.errors import ModelError

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
            raise ModelError(
                f"model.path: {path}: {name} holds NaN or infinite numbers, so nothing can be computed "
                "with it; fetch or save the model again"
            )


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
        ModelError: Another last token moves the logits of the tokens before it.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    ids = torch.arange(_PROBE_TOKENS, device=model.device)[None] % rows
    other = ids.clone()
    other[0, -1] = rows // 2
    first, second = (model(input_ids=each).logits[0, :-1].float() for each in (ids, other))
    if (first - second).abs().max() > _NOISE * first.std():
        raise ModelError(
            f"model.path: {path}: its logits depend on tokens that come later, so it is an encoder, or "
            "was loaded as one; give a decoder-only model"
        )
