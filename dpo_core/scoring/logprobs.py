"""Log-probabilities of answers: per-pair sums and lengths, from one pass over a packed row."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from dpo_core.encoding.packing import CHOSEN, PROMPT, REJECTED, Row, build_row, pack
from dpo_core.encoding.token_table import EncodedPair
from dpo_core.ops.fused_head import answer_logps, logps_of
from dpo_core.ops.packed_attention import answer_masks, takes_blocks
from dpo_core.scoring.row_layout import RowLayout

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


def token_logps(model: Model, row: Row, layout: RowLayout = RowLayout.PACKED) -> Tensor:
    """Compute log π of each answer token of the row; differentiable.

    Where the head is the model's last step it runs on the predicting positions only, in pieces, so
    full logits never exist.

    Args:
        model: The policy or the reference, on the row's device.
        row: The packed pairs.
        layout: How the pairs go through the model.

    Returns:
        Nats, shape (A,), float32.
    """
    if not layout.shares_prompts:
        return _token_logps_of_single_answers(model, row)
    inner = _unwrapped(model)
    dtype, device = inner.dtype, row.input_ids.device
    if layout is RowLayout.PACKED and takes_blocks(inner.config):
        # Transformers passes a mask of four dimensions on as it is; the blocks replace it.
        mask = torch.zeros(1, 1, 1, 1, dtype=dtype, device=device)
        attention = {"packed": (row.blocks, answer_masks(row.blocks, dtype, device))}
    else:
        mask, attention = row.mask(dtype), {}
    inputs = {
        "input_ids": row.input_ids,
        "position_ids": row.position_ids,
        "attention_mask": mask,
        **attention,
    }
    return _logps_at(model, inputs, row.predictors, row.targets)


def _token_logps_of_single_answers(model: Model, row: Row) -> Tensor:
    """Compute what `token_logps` does with one plain pass per answer, without sharing prompts."""
    parts = []
    for pair in range(row.pairs):
        in_pair = row.pair_of == pair
        for part in (CHOSEN, REJECTED):
            keep = in_pair & ((row.part_of == PROMPT) | (row.part_of == part))
            ids = row.input_ids[:, keep]
            answer = row.input_ids[0, in_pair & (row.part_of == part)]
            last = ids.shape[1] - 1
            predictors = torch.arange(last - len(answer), last, device=ids.device)
            parts.append(_logps_at(model, {"input_ids": ids}, predictors, answer))
    return torch.cat(parts)


def _logps_at(model: Model, inputs: dict[str, Any], predictors: Tensor, targets: Tensor) -> Tensor:
    """Run the model, and compute the log-probs (A,) of `targets` (A,) at positions `predictors` (A,)."""
    inner = _unwrapped(model)
    if head_is_last(inner):
        head = inner.get_output_embeddings()
        with _hidden_states_for_logits(head):
            hidden = model(**inputs, use_cache=False).logits[0]
        return answer_logps(hidden[predictors], head, targets)
    logits = model(**inputs, use_cache=False, logits_to_keep=predictors).logits[0]
    # Some models ignore the argument, and return the logits of every position.
    return logps_of(logits if len(logits) == len(targets) else logits[predictors], targets)


def row_logps(model: Model, row: Row, layout: RowLayout) -> PairLogps:
    """Compute per-pair sums and lengths of one row; the sums are differentiable.

    Args:
        model: The policy or the reference, on the row's device.
        row: The packed pairs.
        layout: How the pairs go through the model (see `prompt_sharing`).

    Returns:
        Columns of shape (pairs,), in the order of `row.indices`.
    """
    return sum_answers(token_logps(model, row, layout), row)


def sum_answers(logps: Tensor, row: Row) -> PairLogps:
    """Sum token values (A,) by answer; pairs stand in the order of `row.indices`."""
    sums = logps.new_zeros(2 * row.pairs).index_add(0, row.answer_of, logps).view(-1, 2)
    heads = logps.new_zeros(2 * row.pairs)
    heads = heads.index_add(0, row.answer_of, logps * row.in_shared_length).view(-1, 2)
    counts = torch.bincount(row.answer_of, minlength=2 * row.pairs).view(-1, 2)
    return PairLogps(sums[:, 0], sums[:, 1], counts[:, 0], counts[:, 1], heads[:, 0], heads[:, 1])


@torch.no_grad()
def score_rows(model: Model, rows: Iterable[Row], layout: RowLayout) -> dict[int, PairLogps]:
    """Score rows in eval mode and without gradients; the model keeps the mode it had.

    Args:
        model: The policy or the reference.
        rows: Packed pairs; each row is moved to the model's device.
        layout: How the pairs of a row go through the model.

    Returns:
        One pair's values, of shape () and on the CPU, by the index that `Row.indices` gives it.
    """
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        results = {}
        for row in rows:
            logps = row_logps(model, row.to(device), layout).to("cpu")
            results.update({index: logps[i] for i, index in enumerate(row.indices)})
        return results
    finally:
        model.train(was_training)


def score_pairs(
    model: Model,
    pairs: Sequence[EncodedPair],
    row_tokens: int,
    layout: RowLayout = RowLayout.PACKED,
) -> PairLogps:
    """Score all `pairs` in this process.

    Args:
        model: The policy or the reference.
        pairs: What is scored.
        row_tokens: The most tokens of a packed row.
        layout: How the pairs of a row go through the model.

    Returns:
        Sums and lengths, (pairs,), in the order of `pairs`, on the CPU.
    """
    rows = (build_row([pairs[i] for i in row], row) for row in pack(pairs, row_tokens))
    return stack(score_rows(model, rows, layout), len(pairs))


def stack(results: dict[int, PairLogps], count: int) -> PairLogps:
    """Join results 0 to count − 1 into columns (count,). Raises KeyError when one is missing."""
    names = [f.name for f in fields(PairLogps)]
    return PairLogps(
        **{n: torch.stack([getattr(results[i], n) for i in range(count)]) for n in names}
    )


def _unwrapped(model: Model) -> CausalModel:
    """Return the model inside PyTorch's data-parallel wrapper, or the model itself."""
    return model if hasattr(model, "config") else model.module


_HEAD_IS_LAST: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


@torch.no_grad()
def head_is_last(model: CausalModel) -> bool:
    """Return whether logits are, bit for bit, what a plain linear head gives. Measured once a model.

    Some models cap or scale what the head gives, and no name in a config says so for all of them.
    """
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear:
        return False
    if head not in _HEAD_IS_LAST:
        outputs: list[Tensor] = []
        hook = head.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
        ids = torch.tensor([[0, 1]], device=head.weight.device)
        was_training = model.training
        model.eval()
        try:
            logits = model(input_ids=ids, use_cache=False).logits
        finally:
            hook.remove()
            model.train(was_training)
        _HEAD_IS_LAST[head] = len(outputs) == 1 and torch.equal(outputs[0].float(), logits.float())
    return _HEAD_IS_LAST[head]


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
