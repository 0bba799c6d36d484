"""Packing of pairs into rows, in which one forward pass computes a prompt once for both answers.

A row is a concatenation of blocks, one for each pair:  prompt | chosen | rejected.
Three rules make the result equal to that of two separate passes (arXiv:2410.20305):
  - Mask: a token attends to earlier tokens of its own pair, and a rejected token to no chosen one.
  - Positions: the rejected answer starts at P, the length of the prompt, as if it followed it.
  - The last token of the prompt predicts the first token of *either* answer.
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
    """The place of one pair in its row: its first position, and the tokens of its three parts."""

    start: int
    prompt: int
    chosen: int
    rejected: int

    @property
    def tokens(self) -> int:
        """Return the number of tokens of the block."""
        return self.prompt + self.chosen + self.rejected


@dataclass(frozen=True)
class Row:
    """A row of n packed pairs with T tokens, A of them in answers (chosen and rejected)."""

    indices: tuple[int, ...]  # (n,) positions of the pairs in the caller's list
    input_ids: Tensor  # (1, T)
    position_ids: Tensor  # (1, T)
    pair_of: Tensor  # (T,) number of the pair within the row
    part_of: Tensor  # (T,) PROMPT, CHOSEN or REJECTED
    predictors: Tensor  # (A,) the position whose logits predict each answer token
    targets: Tensor  # (A,) the answer tokens
    answer_of: Tensor  # (A,) 2·pair + (0 chosen, 1 rejected)
    in_shared_length: Tensor  # (A,) bool: among the first min(|y_w|, |y_l|) tokens of its answer
    blocks: tuple[Block, ...]  # (n,)

    @property
    def pairs(self) -> int:
        """Return n, the number of pairs in the row."""
        return len(self.indices)

    def mask(self, dtype: torch.dtype) -> Tensor:
        """Return the additive attention mask, shape (1, 1, T, T).

        It is 0 where attention is allowed and the lowest value of `dtype` elsewhere. A boolean mask
        would give wrong results without an error under eager attention.
        """
        t = self.pair_of.numel()
        causal = torch.ones(t, t, dtype=torch.bool, device=self.pair_of.device).tril()
        same_pair = self.pair_of[:, None] == self.pair_of[None, :]
        crosses = (self.part_of[:, None] == REJECTED) & (self.part_of[None, :] == CHOSEN)
        allowed = causal & same_pair & ~crosses
        mask = torch.zeros(t, t, dtype=dtype, device=self.pair_of.device)
        return mask.masked_fill_(~allowed, torch.finfo(dtype).min)[None, None]

    def to(self, device: torch.device | str) -> Row:
        """Return the row with all its tensors on a device."""
        moved: dict[str, Any] = {
            k: v.to(device) if isinstance(v, Tensor) else v for k, v in vars(self).items()
        }
        return Row(**moved)


def build_row(pairs: Sequence[EncodedPair], indices: Sequence[int]) -> Row:
    """Build one row of all `pairs`; `indices` are their positions in the caller's list."""
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
    """Choose the pairs of each row, first-fit decreasing.

    Pairs are taken longest first, each into the first row with room. The result depends on lengths
    alone, so all callers that pack the same pairs get the same rows and the same floats from them.

    Args:
        pairs: The pairs to pack.
        row_tokens: The most tokens in a row; a longer pair gets a row of its own.

    Returns:
        For each row the indices of its pairs, in ascending order.
    """
    tokens = token_counts(pairs)
    order = np.argsort(-tokens, kind="stable").tolist()
    rows: list[list[int]] = []
    room = _FirstFitTree(len(order))
    for index in order:
        needed = int(tokens[index])
        row = room.find(needed)
        if row is None:
            row = len(rows)
            rows.append([])
            room.set(row, row_tokens)
        rows[row].append(index)
        room.set(row, room.room_in(row) - needed)
    return [tuple(sorted(row)) for row in rows]


class _FirstFitTree:
    """Finds the first of n rows with room in log n steps.

    A binary tree whose leaves hold the room of each row, and whose nodes the most room below them.
    """

    def __init__(self, rows: int) -> None:
        self.leaves = 1 << max(0, rows - 1).bit_length()
        self.most = [-1] * (2 * self.leaves)

    def room_in(self, row: int) -> int:
        """Return the room of a row, -1 for one that does not exist yet."""
        return self.most[self.leaves + row]

    def set(self, row: int, room: int) -> None:
        """Set the room of a row."""
        node = self.leaves + row
        self.most[node] = room
        while node > 1:
            node //= 2
            self.most[node] = max(self.most[2 * node], self.most[2 * node + 1])

    def find(self, needed: int) -> int | None:
        """Return the first row with that much room, or None."""
        if self.most[1] < needed:
            return None
        node = 1
        while node < self.leaves:
            node = 2 * node if self.most[2 * node] >= needed else 2 * node + 1
        return node - self.leaves


def pack_rows(pairs: Sequence[EncodedPair], row_tokens: int) -> list[Row]:
    """Pack the pairs and build the rows; see `pack`."""
    return [build_row([pairs[i] for i in row], row) for row in pack(pairs, row_tokens)]
