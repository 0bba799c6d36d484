"""The measurement of how a model's rows may be laid out: the fastest layout whose log-probs are exact.

A packed row is exact for a model whose layers see other tokens through attention alone, in the
positions they are given. State-space and convolution layers do not; attention windows and chunks, and
RoPE that depends on the longest position, do so up to some length. No name of a model or of a field
in its config is trusted: a few pairs are scored both ways, in float32 whatever the model's dtype, as
half precision has noise that hides what a wrong row does.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dpo_core.encoding.packing import Row, build_row
from dpo_core.encoding.token_table import EncodedPair, TokenTable
from dpo_core.ops.fused_head import logps_of
from dpo_core.ops.packed_attention import takes_blocks
from dpo_core.scoring.activation_memory import kept_bytes_per_token
from dpo_core.scoring.logprobs import token_logps
from dpo_core.scoring.row_layout import RowLayout

if TYPE_CHECKING:
    from dpo_core.models.load import CausalModel

MEAN_IN_HALF_PRECISION = 0.1
"""The mean difference of a token's log-prob that rounding to half precision explains, in nats."""
_SHORTEST = 4
_NOISES = 10.0


@dataclass(frozen=True)
class Limit:
    """The difference of a token's log-prob that float noise explains, in nats.

    It is ten times the difference between two plain passes, but neither below `least` nor above
    `most`.
    """

    least: float
    most: float

    def allows(self, difference: float, noise: float) -> bool:
        """Return whether noise explains the difference; never for one that is no number."""
        return difference <= min(self.most, max(self.least, _NOISES * noise))


LARGEST, MEAN = Limit(1e-4, 1e-3), Limit(1e-5, 1e-4)


@dataclass(frozen=True)
class LayoutChoice:
    """The layout of rows, and why prompts are not shared, if they are not."""

    layout: RowLayout
    why_not_shared: str | None = None
    kept_bytes_per_token: float = 0.0
    """What a training step keeps of each token of a row for the backward pass; 0: not measured."""


@torch.no_grad()
def choose_layout(
    model: CausalModel,
    pairs: Sequence[EncodedPair],
    row_tokens: int,
    layouts: Collection[RowLayout] = tuple(RowLayout),
) -> LayoutChoice:
    """Choose the fastest layout that gives what plain passes give.

    A full row is scored in each layout; the longest pair and the shortest ones are compared.

    Args:
        model: The untouched model, in eval mode and computing in float32.
        pairs: All pairs that will be scored or trained.
        row_tokens: The length of a row.
        layouts: Those that may be chosen, beside PLAIN.

    Returns:
        The layout; a reason not to share prompts is that of the last layout that shares them.
    """
    comparison = _full_row(model, TokenTable.of(pairs), row_tokens)
    try:
        noise = comparison.noise()
    except Exception as error:  # some attention kernels compute in half precision only
        why_not = f"the model does not run in float32 ({_in_one_line(error)})"
        return LayoutChoice(RowLayout.PLAIN, why_not)
    reason: str | None = None
    for layout in _shared_layouts(model, layouts):
        reason = comparison.why_not(layout, noise)
        if reason is None:
            return LayoutChoice(layout)
    return LayoutChoice(RowLayout.PLAIN, reason)


@torch.no_grad()
def fault_in_half_precision(
    model: CausalModel, pairs: Sequence[EncodedPair], layout: RowLayout
) -> str | None:
    """Compare a layout that is exact in float32 in the precision in which the model trains.

    There only a fault as large as a mask that is rounded to another value shows.

    Args:
        model: The untouched model, in eval mode.
        pairs: All pairs that will be scored or trained.
        layout: What `choose_layout` chose.

    Returns:
        How the layout differs from plain passes, or None when rounding explains it.
    """
    table = TokenTable.of(pairs)
    few = [pairs[i] for i in _shortest(table)]
    mean = float(_Comparison(model, few, range(len(few))).differences(layout).mean())
    if mean <= MEAN_IN_HALF_PRECISION:
        return None
    return f"in half precision packed and plain passes differ by {mean:.3g} nats a token"


def measure_memory(
    model: CausalModel, pairs: Sequence[EncodedPair], row_tokens: int, layout: RowLayout
) -> float:
    """Measure the activations that training keeps, on the longest pair; under a mask, on a full row.

    Eager attention keeps its scores, which grow with the square of a row.

    Args:
        model: The untouched model, in the precision in which it is trained.
        pairs: All pairs that will be trained.
        row_tokens: The length of a row.
        layout: What `choose_layout` chose.

    Returns:
        Bytes for each token of a row.
    """
    comparison = _full_row(model, TokenTable.of(pairs), row_tokens)
    if layout is not RowLayout.MASKED:
        comparison = _Comparison(model, comparison.pairs[:1], [0])
    return kept_bytes_per_token(model, comparison.row, layout)


@dataclass
class _Comparison:
    """A row of pairs, and the places in it of those that are compared, the longest of them first."""

    model: CausalModel
    pairs: Sequence[EncodedPair]
    compared: Sequence[int]

    @cached_property
    def plain_row(self) -> Row:
        """Build a row of the compared pairs, for plain passes."""
        return self._row([self.pairs[i] for i in self.compared])

    @cached_property
    def row(self) -> Row:
        """Build the row of all pairs."""
        return self._row(self.pairs)

    @cached_property
    def plain(self) -> Tensor:
        """Score the compared pairs with a pass of its own for each answer, nats a token."""
        return token_logps(self.model, self.plain_row, RowLayout.PLAIN)

    def noise(self) -> Tensor:
        """Return how the plain passes of the last pair differ from the same in batches of two."""
        pair, parts = self.pairs[self.compared[-1]], []
        for answer in (pair.chosen, pair.rejected):
            ids = torch.tensor([pair.prompt + answer], device=self.plain.device)
            logits = self.model(input_ids=ids.expand(2, -1), use_cache=False).logits[0]
            parts.append(logps_of(logits[-len(answer) - 1 : -1], ids[0, -len(answer) :]))
        in_batches = torch.cat(parts)
        return (in_batches - self.plain[-len(in_batches) :]).abs()

    def differences(self, layout: RowLayout) -> Tensor:
        """Return by how much each answer token of the compared pairs differs in `layout`, nats."""
        logps = token_logps(self.model, self.row, layout)
        pair_of = self.row.answer_of // 2
        return torch.cat([logps[pair_of == i] for i in self.compared]).sub(self.plain).abs()

    def why_not(self, layout: RowLayout, noise: Tensor) -> str | None:
        """Return how `layout` differs from plain passes, or None when noise explains it."""
        try:
            differences = self.differences(layout)
        except Exception as error:  # an unknown architecture may raise anything on a packed row
            return f"the model refuses packed rows ({_in_one_line(error)})"
        if _explained(differences, noise):
            return None
        reason = f"packed and plain passes differ by up to {differences.max():.3g} nats a token"
        shorter = differences[self.plain_row.answer_of >= 2]
        if len(shorter) and _explained(shorter, noise):
            pair = self.pairs[self.compared[0]]
            tokens = len(pair.prompt) + max(len(pair.chosen), len(pair.rejected))
            reason += f" in the longest pair, of {tokens} tokens, though not in short ones"
        return reason

    def _row(self, pairs: Sequence[EncodedPair]) -> Row:
        return build_row(pairs, range(len(pairs))).to(next(self.model.parameters()).device)


def _explained(differences: Tensor, noise: Tensor) -> bool:
    largest = LARGEST.allows(float(differences.max()), float(noise.max()))
    return largest and MEAN.allows(float(differences.mean()), float(noise.mean()))


def _shared_layouts(model: CausalModel, layouts: Collection[RowLayout]) -> list[RowLayout]:
    """Return the layouts that are tried, fastest first."""
    tried = [layout for layout in RowLayout if layout in layouts and layout.shares_prompts]
    packed = takes_blocks(model.config)
    return [layout for layout in tried if packed or layout is not RowLayout.PACKED]


def _shortest(table: TokenTable) -> list[int]:
    """Return the indices of the shortest pairs, the shortest last."""
    shortest: list[int] = np.argsort(table.tokens, kind="stable")[:_SHORTEST].tolist()
    return shortest[::-1]


def _full_row(model: CausalModel, table: TokenTable, row_tokens: int) -> _Comparison:
    """Fill a row with the longest pair, those of the first pairs that fit, and the shortest ones.

    It is as long as any row of the sweep, as some models have buffers of their longest sequence.
    """
    longest = int(np.argmax(table.sequence_lengths))
    shortest = [i for i in _shortest(table) if i != longest]
    row_tokens = max(row_tokens, int(table.tokens.max()))
    room = row_tokens - int(table.tokens[[longest, *shortest]].sum())
    between = []
    for index, tokens in enumerate(table.tokens[:row_tokens].tolist()):
        if index not in (longest, *shortest) and tokens <= room:
            between.append(index)
            room -= tokens
    members = [longest, *between, *shortest]
    last = range(len(members) - len(shortest), len(members))
    return _Comparison(model, [table[i] for i in members], [0, *last])


def _in_one_line(error: Exception) -> str:
    first_line = str(error).strip().splitlines()[:1]
    return f"{type(error).__name__}: {' '.join(first_line)}"
