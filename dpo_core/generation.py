"""Answers of a model to prompts, batched and seeded: the same model says the same thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dpo_core.models import load_model, load_tokenizer, quiet
from dpo_core.scoring import best_device
from dpo_core.settings import ModelSettings


def answers(
    settings: ModelSettings, prompts: Sequence[Sequence[dict[str, str]]], max_new_tokens: int
) -> list[str]:
    """One greedy text a prompt (chat messages), at most `max_new_tokens` tokens each."""
    quiet()
    model: Any = load_model(settings, best_device())
    return generate(model, load_tokenizer(settings), prompts, max_new_tokens)


@torch.no_grad()
def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Any],
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    max_prompt_tokens: int | None = None,
) -> list[str]:
    """One text a prompt: chat messages, or a string for a model without a chat template.

    Temperature 0 is greedy. Longer prompts lose their start.
    """
    side, cut = tokenizer.padding_side, tokenizer.truncation_side
    tokenizer.padding_side = tokenizer.truncation_side = "left"
    shape: dict[str, Any] = {"padding": True, "return_tensors": "pt"}
    if max_prompt_tokens is not None:
        shape |= {"truncation": True, "max_length": max_prompt_tokens}
    if isinstance(prompts[0], str):
        batch = tokenizer(list(prompts), **shape)
    else:
        chats = [list(prompt) for prompt in prompts]
        batch = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, return_dict=True, **shape
        )
    tokenizer.padding_side, tokenizer.truncation_side = side, cut
    batch = batch.to(next(model.parameters()).device)
    sampling: dict[str, Any] = {"do_sample": False}
    if temperature > 0:
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        output = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            max_new_tokens=max_new_tokens,
            use_cache=True,
            pad_token_id=tokenizer.pad_token_id,
            **sampling,
        )
    new = output[:, batch["input_ids"].shape[1] :]
    return [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]
