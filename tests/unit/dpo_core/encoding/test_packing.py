"""Packing: what a row holds, what it may see, and which pairs share one."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from dpo_core.encoding.packing import CHOSEN, PROMPT, REJECTED, build_row, pack, pack_rows
from dpo_core.encoding.token_table import EncodedPair

FIRST = EncodedPair("first", prompt=(10, 11), chosen=(20, 21, 22), rejected=(30,))
SECOND = EncodedPair("second", prompt=(40,), chosen=(50,), rejected=(60, 61))


def test_a_row_by_hand() -> None:
    row = build_row([FIRST, SECOND], [7, 3])
    #            index  0   1   2   3   4   5   6   7   8   9
    #                   |prompt| chosen   |rej| pr| ch| rejected
    assert row.indices == (7, 3)
    assert row.input_ids.tolist() == [[10, 11, 20, 21, 22, 30, 40, 50, 60, 61]]
    # Both answers follow their prompt: the rejected one restarts at P.
    assert row.position_ids.tolist() == [[0, 1, 2, 3, 4, 2, 0, 1, 1, 2]]
    assert row.pair_of.tolist() == [0] * 6 + [1] * 4
    assert row.part_of.tolist() == [
        PROMPT, PROMPT, CHOSEN, CHOSEN, CHOSEN, REJECTED, PROMPT, CHOSEN, REJECTED, REJECTED
    ]  # fmt: skip
    # The first token of either answer is predicted by the last one of the prompt.
    assert row.predictors.tolist() == [1, 2, 3, 1, 6, 6, 8]
    assert row.targets.tolist() == [20, 21, 22, 30, 50, 60, 61]
    assert row.answer_of.tolist() == [0, 0, 0, 1, 2, 3, 3]
    # min(3, 1) = 1 token of the first pair's answers, min(1, 2) = 1 of the second's.
    assert row.in_shared_length.tolist() == [True, False, False, True, True, True, False]
    assert row.pairs == 2


def test_mask_by_hand() -> None:
    """Rows see columns: own pair, the past, and no chosen token from a rejected one."""
    mask = build_row([FIRST, SECOND], [0, 1]).mask(torch.float32)
    assert mask.shape == (1, 1, 10, 10)
    seen = ["".join("x" if v == 0 else "." for v in line) for line in mask[0, 0]]
    assert seen == [
        "x.........",
        "xx........",
        "xxx.......",
        "xxxx......",
        "xxxxx.....",
        "xx...x....",
        "......x...",
        "......xx..",
        "......x.x.",
        "......x.xx",
    ]


def test_mask_is_additive_in_the_dtype_asked_for() -> None:
    mask = build_row([FIRST], [0]).mask(torch.bfloat16)
    assert mask.dtype == torch.bfloat16
    assert set(mask.unique().tolist()) == {0.0, torch.finfo(torch.bfloat16).min}


def test_moving_a_row_moves_every_tensor() -> None:
    moved = build_row([FIRST], [0]).to("meta")
    tensors = [v for v in vars(moved).values() if isinstance(v, torch.Tensor)]
    assert len(tensors) == 8
    assert all(t.device.type == "meta" for t in tensors)


def pairs_of(lengths: list[tuple[int, int, int]], token: int = 5) -> list[EncodedPair]:
    return [
        EncodedPair(str(i), (token,) * p, (token,) * c, (token,) * r)
        for i, (p, c, r) in enumerate(lengths)
    ]


lengths = st.lists(st.tuples(*[st.integers(1, 40)] * 3), min_size=1, max_size=30)


@given(lengths, st.integers(64, 200))
def test_every_pair_is_packed_exactly_once(
    lengths: list[tuple[int, int, int]], budget: int
) -> None:
    packed = [index for row in pack(pairs_of(lengths), budget) for index in row]
    assert sorted(packed) == list(range(len(lengths)))


@given(lengths, st.integers(64, 200))
def test_rows_keep_to_the_budget(lengths: list[tuple[int, int, int]], budget: int) -> None:
    pairs = pairs_of(lengths)
    for row in pack(pairs, budget):
        tokens = sum(pairs[i].tokens for i in row)
        assert tokens <= budget or len(row) == 1


@given(lengths, st.integers(64, 200))
def test_packing_depends_on_lengths_alone(lengths: list[tuple[int, int, int]], budget: int) -> None:
    assert pack(pairs_of(lengths, token=5), budget) == pack(pairs_of(lengths, token=6), budget)


@given(lengths, st.integers(64, 200))
def test_no_two_rows_would_fit_into_one(lengths: list[tuple[int, int, int]], budget: int) -> None:
    pairs = pairs_of(lengths)
    sizes = sorted(sum(pairs[i].tokens for i in row) for row in pack(pairs, budget))
    assert len(sizes) < 2 or sizes[0] + sizes[1] > budget


def test_packed_rows_hold_the_pairs_they_name() -> None:
    pairs = pairs_of([(5, 3, 2), (60, 10, 10), (4, 4, 4)])
    rows = pack_rows(pairs, 64)
    # 80 tokens exceed the budget of 64 and get a row of their own; 10 and 12 share one.
    assert [row.indices for row in rows] == [(1,), (0, 2)]
    assert [row.input_ids.shape[1] for row in rows] == [80, 22]
