"""Answers of a model to prompts: greedy, batched, so the same model says the same thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dpo_core.models import load_model, load_tokenizer, quiet
from dpo_core.scoring import best_device
from dpo_core.settings import ModelSettings


@torch.no_grad()
def answers(
    settings: ModelSettings, prompts: Sequence[Sequence[dict[str, str]]], max_new_tokens: int
) -> list[str]:
    """One text a prompt (chat messages), at most `max_new_tokens` tokens each."""
    quiet()
    device = best_device()
    model: Any = load_model(settings, device)
    model.config.use_cache = True
    tokenizer = load_tokenizer(settings)
    tokenizer.padding_side = "left"
    batch = tokenizer.apply_chat_template(
        list(prompts),
        add_generation_prompt=True,
        padding=True,
        return_tensors="pt",
        return_dict=True,
    ).to(device)
    output = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    texts = tokenizer.batch_decode(
        output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True
    )
    return [text.strip() for text in texts]
