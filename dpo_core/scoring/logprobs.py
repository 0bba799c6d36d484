"""Log-probabilities of answers: per-pair sums and lengths, from one pass over a packed row."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from dpo_core.encoding.packing import CHOSEN, PROMPT, REJECTED, Row, build_row, pack
from dpo_core.encoding.token_table import EncodedPair
from dpo_core.ops.fused_head import answer_logps, logps_of
from dpo_core.ops.packed_attention import PACKED, answer_masks

if TYPE_CHECKING:
    from torch.nn.parallel import DistributedDataParallel

    from dpo_core.models.load import CausalModel

    Model: TypeAlias = CausalModel | DistributedDataParallel


@dataclass(frozen=True)
class PairLogps:
    """Log-prob sums over each answer's tokens, in nats, and lengths in tokens; all (pairs,).

    `*_head` is the sum over the first min(|y_w|, |y_l|) tokens (LD-DPO, arXiv:2409.06411).
    """

    chosen: Tensor
    rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor
    chosen_head: Tensor
    rejected_head: Tensor

    def __getitem__(self, index: int | slice | Tensor) -> PairLogps:
        """Index every column; an int gives columns of shape ()."""
        return PairLogps(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def to(self, device: torch.device | str) -> PairLogps:
        """Move every column to `device`."""
        return PairLogps(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def numpy(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return every column by its name, on the CPU and without its gradient."""
        return {f.name: getattr(self, f.name).detach().cpu().numpy() for f in fields(self)}


def token_logps(model: Model, row: Row) -> Tensor:
    """Compute log π of each answer token of the row, in nats, shape (A,), float32; differentiable.

    The head runs on the predicting positions only, in pieces, so full logits never exist.
    """
    inner = _unwrapped(model)
    dtype, device = inner.dtype, row.input_ids.device
    if inner.config._attn_implementation == PACKED:
        # Transformers passes a mask of four dimensions on as it is; the blocks replace it.
        mask = torch.zeros(1, 1, 1, 1, dtype=dtype, device=device)
        attention = {"packed": (row.blocks, answer_masks(row.blocks, dtype, device))}
    else:
        mask, attention = row.mask(dtype), {}
    inputs = {
        "input_ids": row.input_ids,
        "position_ids": row.position_ids,
        "attention_mask": mask,
        "logits_to_keep": row.predictors,
        "use_cache": False,
        **attention,
    }
    head = inner.get_output_embeddings()
    if not _head_is_last(inner, head):
        return logps_of(model(**inputs).logits[0], row.targets)
    with _hidden_states_for_logits(head):
        hidden = model(**inputs).logits[0]
    return answer_logps(hidden, head, row.targets)


def token_logps_unshared(model: Model, row: Row) -> Tensor:
    """Compute what `token_logps` does with one plain pass per answer, without sharing prompts."""
    parts = []
    for pair in range(row.pairs):
        in_pair = row.pair_of == pair
        for part in (CHOSEN, REJECTED):
            keep = in_pair & ((row.part_of == PROMPT) | (row.part_of == part))
            ids = row.input_ids[0][keep]
            answer = row.input_ids[0][in_pair & (row.part_of == part)]
            logits = model(input_ids=ids[None], use_cache=False).logits[0]
            parts.append(logps_of(logits[-len(answer) - 1 : -1], answer))
    return torch.cat(parts)


def row_logps(model: Model, row: Row, shared: bool) -> PairLogps:
    """Compute per-pair sums and lengths of one row; the sums are differentiable.

    Args:
        model: The policy or the reference, on the row's device.
        row: The packed pairs.
        shared: Whether each prompt is computed once for both answers (see `prompt_sharing`).

    Returns:
        Columns of shape (pairs,), in the order of `row.indices`.
    """
    return sum_answers(token_logps(model, row) if shared else token_logps_unshared(model, row), row)


def sum_answers(logps: Tensor, row: Row) -> PairLogps:
    """Sum token values (A,) by answer; pairs stand in the order of `row.indices`."""
    sums = logps.new_zeros(2 * row.pairs).index_add(0, row.answer_of, logps).view(-1, 2)
    heads = logps.new_zeros(2 * row.pairs)
    heads = heads.index_add(0, row.answer_of, logps * row.in_shared_length).view(-1, 2)
    counts = torch.bincount(row.answer_of, minlength=2 * row.pairs).view(-1, 2)
    return PairLogps(sums[:, 0], sums[:, 1], counts[:, 0], counts[:, 1], heads[:, 0], heads[:, 1])


@torch.no_grad()
def score_rows(model: Model, rows: Iterable[Row], shared: bool) -> dict[int, PairLogps]:
    """Score rows in eval mode and without gradients; the model keeps the mode it had.

    Args:
        model: The policy or the reference.
        rows: Packed pairs; each row is moved to the model's device.
        shared: Whether each prompt is computed once for both answers.

    Returns:
        One pair's values, of shape () and on the CPU, by the index that `Row.indices` gives it.
    """
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


def score_pairs(
    model: Model, pairs: Sequence[EncodedPair], row_tokens: int, shared: bool = True
) -> PairLogps:
    """Score all `pairs` in this process.

    Args:
        model: The policy or the reference.
        pairs: What is scored.
        row_tokens: The most tokens of a packed row.
        shared: Whether each prompt is computed once for both answers.

    Returns:
        Sums and lengths, (pairs,), in the order of `pairs`, on the CPU.
    """
    rows = (build_row([pairs[i] for i in row], row) for row in pack(pairs, row_tokens))
    return stack(score_rows(model, rows, shared), len(pairs))


def stack(results: dict[int, PairLogps], count: int) -> PairLogps:
    """Join results 0 to count − 1 into columns (count,). Raises KeyError when one is missing."""
    names = [f.name for f in fields(PairLogps)]
    return PairLogps(
        **{n: torch.stack([getattr(results[i], n) for i in range(count)]) for n in names}
    )


def _unwrapped(model: Model) -> CausalModel:
    """Return the model inside PyTorch's data-parallel wrapper, or the model itself."""
    return model if hasattr(model, "config") else model.module


def _head_is_last(model: CausalModel, head: nn.Module) -> bool:
    """Return whether logits are what a plain linear head gives, without soft cap or scale."""
    config = model.config.get_text_config()
    changed = ("final_logit_softcapping", "logit_scale", "logits_scaling")
    return type(head) is torch.nn.Linear and not any(getattr(config, n, None) for n in changed)


@contextlib.contextmanager
def _hidden_states_for_logits(head: nn.Module) -> Iterator[None]:
    """Make the head return its input, so that the model's `logits` are hidden states meanwhile."""
    before = head.__dict__.get("forward")
    head.forward = lambda hidden: hidden
    try:
        yield
    finally:
        if before is None:
            del head.__dict__["forward"]
        else:
            head.forward = before
