"""A model's answers to prompts, batched and seeded: the same model gives the same answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from dpo_core.encoding.token_table import TokenIds

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_FIRST_STOP = 64  # tokens; each further stop is at twice the length


@dataclass(frozen=True)
class Answer:
    """One generated answer."""

    text: str
    tokens: TokenIds  # without the end token
    ended: bool  # whether the model wrote an end token within its budget


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[TokenIds],
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[Answer]:
    """Generate one answer per prompt, in one batch, and leave torch's random state as it was.

    Args:
        model: The model that answers.
        tokenizer: Its tokenizer, with a pad token.
        prompts: Token ids of each prompt, at least one prompt.
        max_new_tokens: The most tokens of an answer; fewer where the model's context ends before.
        temperature: 0 for greedy decoding; else the temperature of sampling.
        seed: The seed of sampling.

    Returns:
        The answers, in the order of the prompts.
    """
    longest, device = max(map(len, prompts)), next(model.parameters()).device
    context = getattr(model.config, "max_position_embeddings", None)
    if context is not None:
        max_new_tokens = max(1, min(max_new_tokens, context - longest))
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
    ends = _end_tokens(model, tokenizer)
    return [_answer(tokenizer, row, ends) for row in output.tolist()]


def generate_greedily(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[TokenIds],
    max_new_tokens: int,
) -> list[Answer]:
    """Generate the most likely answer to each prompt, in one batch that becomes smaller.

    Some answers of a batch run on to the limit after most have ended. So the batch stops at growing
    lengths, and only what has not ended goes on.

    Args:
        model: The model that answers.
        tokenizer: Its tokenizer, with a pad token.
        prompts: Token ids of each prompt, at least one prompt.
        max_new_tokens: The most tokens of an answer; fewer where the model's context ends before.

    Returns:
        The answers, in the order of the prompts.
    """
    answers = [Answer("", (), False)] * len(prompts)
    unfinished, length = list(range(len(prompts))), 0
    while unfinished and length < max_new_tokens:
        asked = min(max(_FIRST_STOP, length), max_new_tokens - length)
        begun = [(*prompts[number], *answers[number].tokens) for number in unfinished]
        parts = generate(model, tokenizer, begun, asked)
        for number, part in zip(unfinished, parts, strict=True):
            tokens = (*answers[number].tokens, *part.tokens)
            answers[number] = Answer(_text(tokenizer, tokens), tokens, part.ended)
        # An answer that got less than was asked for has ended, or the model's context has.
        unfinished = [n for n, p in zip(unfinished, parts, strict=True) if len(p.tokens) == asked]
        length += asked
    return answers


def _answer(tokenizer: PreTrainedTokenizerBase, row: list[int], ends: set[int]) -> Answer:
    end = next((position for position, token in enumerate(row) if token in ends), None)
    tokens = tuple(row[:end])
    return Answer(_text(tokenizer, tokens), tokens, end is not None)


def _text(tokenizer: PreTrainedTokenizerBase, tokens: TokenIds) -> str:
    return str(tokenizer.decode(tokens, skip_special_tokens=True)).strip()


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    configured = model.generation_config.eos_token_id
    configured = configured if isinstance(configured, list) else [configured]
    return {*configured, tokenizer.eos_token_id} - {None}
