"""Answers of a model to prompts, batched and seeded: the same model says the same thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dpo_core.encoding.token_table import TokenIds


@dataclass(frozen=True)
class Answer:
    """What a model wrote: its text, its tokens without the end token, and whether it came to one."""

    text: str
    tokens: TokenIds
    ended: bool


@torch.no_grad()
def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[TokenIds],
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[Answer]:
    """One answer a prompt, in one batch. Temperature 0 is greedy."""
    longest, device = max(map(len, prompts)), next(model.parameters()).device
    pads = [longest - len(prompt) for prompt in prompts]  # on the left: answers begin together
    ids = [[tokenizer.pad_token_id] * pad + list(p) for pad, p in zip(pads, prompts, strict=True)]
    mask = [[0] * pad + [1] * (longest - pad) for pad in pads]
    sampling: dict[str, Any] = {"do_sample": False}
    if temperature > 0:
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        output = model.generate(
            input_ids=torch.tensor(ids, device=device),
            attention_mask=torch.tensor(mask, device=device),
            max_new_tokens=max_new_tokens,
            use_cache=True,
            pad_token_id=tokenizer.pad_token_id,
            **sampling,
        )[:, longest:]
    texts = tokenizer.batch_decode(output, skip_special_tokens=True)
    ends = _end_tokens(model, tokenizer)
    return [_answer(text, row, ends) for text, row in zip(texts, output.tolist(), strict=True)]


def _answer(text: str, row: list[int], ends: set[int]) -> Answer:
    end = next((place for place, token in enumerate(row) if token in ends), None)
    return Answer(text.strip(), tuple(row[:end]), end is not None)


def _end_tokens(model: Any, tokenizer: Any) -> set[int]:
    known = model.generation_config.eos_token_id
    known = known if isinstance(known, list) else [known]
    return {*known, tokenizer.eos_token_id} - {None}
