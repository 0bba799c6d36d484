"""Pairs packed into rows: one forward pass computes a prompt once and both of its answers.

A row is a concatenation of blocks, one a pair:  prompt | chosen | rejected.
Three things make that equal to two separate passes (arXiv:2410.20305):
  - the mask: a token sees its own pair only, causally, and a rejected token no chosen one;
  - the positions: the rejected answer restarts at P, as if it followed the prompt;
  - the first token of *either* answer is predicted by the last token of the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpo_core.encoding.token_table import EncodedPair, token_counts

PROMPT, CHOSEN, REJECTED = 0, 1, 2


@dataclass(frozen=True)
class Block:
    """Where one pair lies in its row: the first position, and the tokens of its three parts."""

    start: int
    prompt: int
    chosen: int
    rejected: int

    @property
    def tokens(self) -> int:
        return self.prompt + self.chosen + self.rejected


@dataclass(frozen=True)
class Row:
    """Packed pairs. T tokens, n pairs, A answer tokens (chosen and rejected of every pair)."""

    indices: tuple[int, ...]  # which pairs of the caller's list, (n,)
    input_ids: Tensor  # (1, T)
    position_ids: Tensor  # (1, T)
    pair_of: Tensor  # (T,) pair number within the row
    part_of: Tensor  # (T,) PROMPT, CHOSEN or REJECTED
    predictors: Tensor  # (A,) the position whose logits predict each answer token
    targets: Tensor  # (A,) the answer tokens
    answer_of: Tensor  # (A,) 2·pair + (0 chosen, 1 rejected)
    in_shared_length: Tensor  # (A,) bool: among the first min(|y_w|, |y_l|) tokens of its answer
    blocks: tuple[Block, ...]  # (n,)

    @property
    def pairs(self) -> int:
        return len(self.indices)

    def mask(self, dtype: torch.dtype) -> Tensor:
        """Additive attention mask (1, 1, T, T): 0 where attention is allowed, else the lowest value.

        Additive floats, since a boolean mask is silently wrong under eager attention.
        """
        t = self.pair_of.numel()
        causal = torch.ones(t, t, dtype=torch.bool, device=self.pair_of.device).tril()
        same_pair = self.pair_of[:, None] == self.pair_of[None, :]
        crosses = (self.part_of[:, None] == REJECTED) & (self.part_of[None, :] == CHOSEN)
        allowed = causal & same_pair & ~crosses
        mask = torch.zeros(t, t, dtype=dtype, device=self.pair_of.device)
        return mask.masked_fill_(~allowed, torch.finfo(dtype).min)[None, None]

    def to(self, device: torch.device | str) -> Row:
        moved: dict[str, Any] = {
            k: v.to(device) if isinstance(v, Tensor) else v for k, v in vars(self).items()
        }
        return Row(**moved)


def build_row(pairs: Sequence[EncodedPair], indices: Sequence[int]) -> Row:
    """One row of `pairs`, which the caller knows as `indices`."""
    ids: list[int] = []
    positions: list[int] = []
    pair_of: list[int] = []
    part_of: list[int] = []
    predictors: list[int] = []
    targets: list[int] = []
    answer_of: list[int] = []
    in_shared_length: list[bool] = []
    blocks: list[Block] = []
    for number, pair in enumerate(pairs):
        start, p = len(ids), len(pair.prompt)
        head = min(len(pair.chosen), len(pair.rejected))
        blocks.append(Block(start, p, len(pair.chosen), len(pair.rejected)))
        ids += pair.prompt
        positions += range(p)
        part_of += [PROMPT] * p
        for part, answer in ((CHOSEN, pair.chosen), (REJECTED, pair.rejected)):
            first = len(ids)
            ids += answer
            positions += range(p, p + len(answer))
            part_of += [part] * len(answer)
            predictors += [start + p - 1, *range(first, first + len(answer) - 1)]
            targets += answer
            answer_of += [2 * number + part - CHOSEN] * len(answer)
            in_shared_length += [i < head for i in range(len(answer))]
        pair_of += [number] * pair.tokens
    return Row(
        indices=tuple(indices),
        input_ids=torch.tensor([ids]),
        position_ids=torch.tensor([positions]),
        pair_of=torch.tensor(pair_of),
        part_of=torch.tensor(part_of),
        predictors=torch.tensor(predictors),
        targets=torch.tensor(targets),
        answer_of=torch.tensor(answer_of),
        in_shared_length=torch.tensor(in_shared_length),
        blocks=tuple(blocks),
    )


def pack(pairs: Sequence[EncodedPair], row_tokens: int) -> list[tuple[int, ...]]:
    """Indices of the pairs of each row, rows of at most `row_tokens` (or of one longer pair).

    Longest first, each into the first row with room: a function of the lengths alone, so every
    caller that packs the same pairs gets the same rows, and with them the same floats.
    """
    tokens = token_counts(pairs)
    order = np.argsort(-tokens, kind="stable").tolist()
    rows: list[list[int]] = []
    room = _FirstWithRoom(len(order))
    for index in order:
        needed = int(tokens[index])
        row = room.find(needed)
        if row is None:
            row = len(rows)
            rows.append([])
            room.set(row, row_tokens)
        rows[row].append(index)
        room.set(row, room.of(row) - needed)
    return [tuple(sorted(row)) for row in rows]


class _FirstWithRoom:
    """The first of n rows with room, in log n steps: a tree whose nodes hold the most room below."""

    def __init__(self, rows: int) -> None:
        self.leaves = 1 << max(0, rows - 1).bit_length()
        self.most = [-1] * (2 * self.leaves)

    def of(self, row: int) -> int:
        return self.most[self.leaves + row]

    def set(self, row: int, room: int) -> None:
        node = self.leaves + row
        self.most[node] = room
        while node > 1:
            node //= 2
            self.most[node] = max(self.most[2 * node], self.most[2 * node + 1])

    def find(self, needed: int) -> int | None:
        if self.most[1] < needed:
            return None
        node = 1
        while node < self.leaves:
            node = 2 * node if self.most[2 * node] >= needed else 2 * node + 1
        return node - self.leaves


def pack_rows(pairs: Sequence[EncodedPair], row_tokens: int) -> list[Row]:
    return [build_row([pairs[i] for i in row], row) for row in pack(pairs, row_tokens)]
