"""A model's answers to prompts, batched and seeded: the same model gives the same answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dpo_core.encoding.token_table import TokenIds
from dpo_core.errors import ModelError
from dpo_core.models.folder_checks import GENERATION_CONFIG
from dpo_core.models.load import reason_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_STOP_EVERY = 32  # tokens


@dataclass(frozen=True)
class Answer:
    """One generated answer."""

    text: str
    tokens: TokenIds  # without the end token
    ended: bool  # whether the model wrote an end token within its budget


@torch.no_grad()
def check_generation_config(path: str, folder: Path, vocabulary: int) -> None:
    """Refuse a generation_config.json with which no model can generate, without the model's weights.

    A tiny model stands in for it: what such a file may hold is checked when tokens are generated.

    Args:
        path: What the settings call the model, for the message.
        folder: The folder with its files; the file may be missing.
        vocabulary: The number of the model's tokens.

    Raises:
        ModelError: Two tokens cannot be generated.
    """
    if not (folder / GENERATION_CONFIG).is_file():
        return
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 1, "vocab_size": vocabulary}
    try:
        with torch.random.fork_rng():
            model = LlamaForCausalLM(LlamaConfig(**sizes, **heads)).eval()
            model.generation_config = GenerationConfig.from_pretrained(folder)
            model.generation_config.cache_implementation = None  # is the model's own
            ids = torch.zeros(1, 1, dtype=torch.long)
            mask = torch.ones_like(ids)
            model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=2, pad_token_id=0)
    except Exception as error:  # wrong types raise anything
        raise ModelError(
            f"model.path: {path}: {GENERATION_CONFIG} cannot be used ({reason_of(error)}); mend it, or "
            "delete it"
        ) from None


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
    ids, mask = _padded(model, tokenizer, prompts)
    sampling: dict[str, Any] = {"do_sample": False}
    if temperature > 0:
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=_room(model, ids, max_new_tokens),
            use_cache=True,
            pad_token_id=tokenizer.pad_token_id,
            **sampling,
        )[:, ids.shape[1] :]
    ends = _end_tokens(model, tokenizer)
    return [_answer(tokenizer, row, ends) for row in output.tolist()]


def generate_greedily(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[TokenIds],
    max_new_tokens: int,
) -> list[Answer]:
    """Generate the most likely answer to each prompt, in one batch that becomes smaller.

    Some answers of a batch run on to the limit after most have ended. So the batch stops every few
    tokens, and only what has not ended goes on.

    Args:
        model: The model that answers.
        tokenizer: Its tokenizer, with a pad token.
        prompts: Token ids of each prompt, at least one prompt.
        max_new_tokens: The most tokens of an answer; fewer where the model's context ends before.

    Returns:
        The answers, in the order of the prompts.
    """
    ids, mask = _padded(model, tokenizer, prompts)
    ends, left = _end_tokens(model, tokenizer), _room(model, ids, max_new_tokens)
    rows: list[list[int]] = [[] for _ in prompts]
    unfinished, cache = list(range(len(prompts))), None
    while unfinished and left > 0:
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            cache=cache,
            max_new_tokens=min(_STOP_EVERY, left),
            use_cache=True,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
            return_dict_in_generate=True,
        )
        new, ids, cache = (
            output.sequences[:, ids.shape[1] :],
            output.sequences,
            output.cache,
        )
        for number, row in zip(unfinished, new.tolist(), strict=True):
            rows[number] += row
        left -= new.shape[1]
        keep = [index for index, number in enumerate(unfinished) if ends.isdisjoint(rows[number])]
        unfinished = [unfinished[index] for index in keep]
        mask = torch.cat([mask, torch.ones_like(new)], dim=1)
        if 0 < len(keep) < len(new):
            ids, mask = ids[keep], mask[keep]
            cache.batch_select_indices(torch.tensor(keep, device=ids.device))
    return [_answer(tokenizer, row, ends) for row in rows]


def _padded(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[TokenIds]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and attention mask, (prompts, longest); padded on the left, so that answers begin
    together."""
    longest, device = max(map(len, prompts)), next(model.parameters()).device
    pads = [longest - len(prompt) for prompt in prompts]
    ids = [[tokenizer.pad_token_id] * pad + list(p) for pad, p in zip(pads, prompts, strict=True)]
    mask = [[0] * pad + [1] * (longest - pad) for pad in pads]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _room(model: PreTrainedModel, ids: torch.Tensor, max_new_tokens: int) -> int:
    """Return how many tokens of an answer fit into the model's context, at least one."""
    context = getattr(model.config, "max_position_embeddings", None)
    return (
        max_new_tokens if context is None else max(1, min(max_new_tokens, context - ids.shape[1]))
    )


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
