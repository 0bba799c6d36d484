"""Log-probabilities of answers: per-pair sums and lengths, from one pass over a packed row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpo_core.encode import EncodedPair
from dpo_core.rows import Row, pack_rows

# Architectures for which a packed row equals separate passes (tested per token in fp32).
SHARED_PROMPT_MODELS = frozenset(
    {"llama", "mistral", "qwen2", "qwen3", "phi3", "gemma", "gemma2", "gemma3_text", "gpt2"}
)


@dataclass(frozen=True)
class PairLogps:
    """Sums over an answer's tokens, in nats, and lengths in tokens; each of shape (pairs,).

    `*_head` is the sum over the first min(|y_w|, |y_l|) tokens (LD-DPO, arXiv:2409.06411).
    """

    chosen: Tensor
    rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor
    chosen_head: Tensor
    rejected_head: Tensor

    def __getitem__(self, index: Any) -> PairLogps:
        return PairLogps(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def to(self, device: torch.device | str) -> PairLogps:
        return PairLogps(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def numpy(self) -> dict[str, np.ndarray[Any, Any]]:
        return {f.name: getattr(self, f.name).detach().cpu().numpy() for f in fields(self)}


def shares_prompts(config: Any, longest_row: int) -> bool:
    """Whether packed rows are exact for this model: a known architecture, and no attention window
    shorter than the row (a given mask replaces the model's own window)."""
    text = config.get_text_config()
    window = getattr(text, "sliding_window", None)
    return text.model_type in SHARED_PROMPT_MODELS and (window is None or window >= longest_row)


def token_logps(model: Any, row: Row) -> Tensor:
    """log π of each answer token of the row, in nats, shape (A,), float32.

    The head runs on the predicting positions only, so full logits never exist.
    """
    output = model(
        input_ids=row.input_ids,
        position_ids=row.position_ids,
        attention_mask=row.mask(_compute_dtype(model)),
        logits_to_keep=row.predictors,
        use_cache=False,
    )
    return _logp_of(output.logits[0], row.targets)


def token_logps_unshared(model: Any, row: Row) -> Tensor:
    """The same for a model that cannot share a prompt: one plain pass a sequence."""
    parts = []
    for pair in range(row.pairs):
        mine = row.pair_of == pair
        for part in (1, 2):
            keep = mine & ((row.part_of == 0) | (row.part_of == part))
            ids = row.input_ids[0][keep]
            answer = row.input_ids[0][mine & (row.part_of == part)]
            logits = model(input_ids=ids[None], use_cache=False).logits[0]
            parts.append(_logp_of(logits[-len(answer) - 1 : -1], answer))
    return torch.cat(parts)


def row_logps(model: Any, row: Row, shared: bool) -> PairLogps:
    """Per-pair sums and lengths of one row, differentiable."""
    return sum_answers(token_logps(model, row) if shared else token_logps_unshared(model, row), row)


def sum_answers(logps: Tensor, row: Row) -> PairLogps:
    """Token values (A,) to sums by answer; pairs in the order of `row.indices`."""
    sums = logps.new_zeros(2 * row.pairs).index_add(0, row.answer_of, logps).view(-1, 2)
    heads = logps.new_zeros(2 * row.pairs)
    heads = heads.index_add(0, row.answer_of, logps * row.in_head).view(-1, 2)
    counts = torch.bincount(row.answer_of, minlength=2 * row.pairs).view(-1, 2)
    return PairLogps(sums[:, 0], sums[:, 1], counts[:, 0], counts[:, 1], heads[:, 0], heads[:, 1])


@torch.no_grad()
def score_rows(model: Any, rows: Iterable[Row], shared: bool) -> dict[int, PairLogps]:
    """Per-pair results by pair index, on the CPU; the model is left in the mode it came in."""
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        results = {}
        for row in rows:
            logps = row_logps(model, row.to(device), shared).to("cpu")
            results.update({index: logps[i] for i, index in enumerate(row.indices)})
        return results
    finally:
        model.train(was_training)


def score_pairs(model: Any, pairs: Sequence[EncodedPair], row_tokens: int) -> PairLogps:
    """Sums and lengths of all `pairs`, in order, in one process."""
    rows = pack_rows(pairs, row_tokens)
    shared = shares_prompts(model.config, max(row.input_ids.shape[1] for row in rows))
    return stack(score_rows(model, rows, shared), len(pairs))


def stack(results: dict[int, PairLogps], count: int) -> PairLogps:
    """Results by index to columns in order. Raises KeyError when a pair is missing."""
    names = [f.name for f in fields(PairLogps)]
    return PairLogps(
        **{n: torch.stack([getattr(results[i], n) for i in range(count)]) for n in names}
    )


def _logp_of(logits: Tensor, targets: Tensor) -> Tensor:
    # fp32 whatever the model's dtype: bf16 sums lose whole nats on long answers.
    logits = logits.float()
    return logits.gather(-1, targets[:, None])[:, 0] - logits.logsumexp(-1)


def _compute_dtype(model: Any) -> torch.dtype:
    dtype: torch.dtype = model.dtype if hasattr(model, "dtype") else model.module.dtype
    return dtype
