"""Which pairs are trained when."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dpo_core.batches import batch_order

sizes = st.integers(1, 40)


@given(sizes, sizes, st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_every_pair_is_seen_equally_often(pairs: int, steps: int, batch: int, seed: int) -> None:
    order = batch_order(pairs, steps=steps, batch_pairs=batch, seed=seed)
    assert order.shape == (steps, batch)
    seen = np.bincount(order.ravel(), minlength=pairs)
    assert len(seen) == pairs
    assert seen.max() - seen.min() <= 1


@given(sizes, sizes, st.integers(1, 12))
def test_an_epoch_ends_before_the_next_begins(pairs: int, steps: int, batch: int) -> None:
    stream = batch_order(pairs, steps=steps, batch_pairs=batch, seed=0).ravel()
    for start in range(0, len(stream) - pairs + 1, pairs):
        assert sorted(stream[start : start + pairs]) == list(range(pairs))


def test_epochs_are_shuffled_differently() -> None:
    first, second = batch_order(30, steps=2, batch_pairs=30, seed=0)
    assert first.tolist() != second.tolist()


def test_the_seed_decides() -> None:
    orders = [batch_order(30, steps=3, batch_pairs=10, seed=s).tolist() for s in (7, 7, 8)]
    assert orders[0] == orders[1] != orders[2]


def test_a_longer_training_begins_like_a_shorter_one() -> None:
    short, long = (batch_order(30, steps=s, batch_pairs=8, seed=3) for s in (4, 40))
    assert long[:4].tolist() == short.tolist()
