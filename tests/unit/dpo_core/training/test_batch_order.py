"""The order of batches: every pair equally often, sources by weight, decided by the seed."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dpo_core.training.batch_order import batch_order, weighted_order

calm = settings(deadline=None)  # shared machines pause
sizes = st.integers(1, 40)


@calm
@given(sizes, sizes, st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_every_pair_is_seen_equally_often(pairs: int, steps: int, batch: int, seed: int) -> None:
    order = batch_order(pairs, steps=steps, batch_pairs=batch, seed=seed)
    assert order.shape == (steps, batch)
    seen = np.bincount(order.ravel(), minlength=pairs)
    assert len(seen) == pairs
    assert seen.max() - seen.min() <= 1


@calm
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


@calm
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 20), st.floats(0.1, 10))
def test_weights_are_kept_at_every_place(left: int, right: int, steps: int, weight: float) -> None:
    sources = ["a"] * left + ["b"] * right
    weights = {"a": weight, "b": 1.0}
    order = weighted_order(sources, weights, steps=steps, batch_pairs=4, seed=0).ravel()
    from_a = np.cumsum(order < left)
    wanted = weight / (weight + 1) * np.arange(1, len(order) + 1)
    assert np.abs(from_a - wanted).max() <= 1
    for members in (order[order < left], order[order >= left]):
        seen = np.bincount(members)[np.unique(members)]
        assert seen.size == 0 or seen.max() - seen.min() <= 1, "epochs within a source"


def test_a_source_without_training_pairs_leaves_its_part_to_the_others() -> None:
    order = weighted_order(["a", "a"], {"a": 1.0, "b": 9.0}, steps=2, batch_pairs=2, seed=0)
    assert sorted(order.ravel().tolist()) == [0, 0, 1, 1]
