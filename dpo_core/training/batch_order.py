"""The order of training pairs: a function of seed and sizes alone, the same for every trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt


def batch_order(pairs: int, *, steps: int, batch_pairs: int, seed: int) -> npt.NDArray[np.int64]:
    """Choose the pairs of each step, epoch after epoch.

    Epochs follow each other without a gap: the last batch of one is filled from the next, so every
    pair is seen equally often and none is dropped.

    Args:
        pairs: How many pairs there are, at least one.
        steps: Optimizer steps.
        batch_pairs: Pairs in each step, over all workers.
        seed: The seed of the shuffling.

    Returns:
        Pair indices, (steps, batch_pairs).
    """
    rng = np.random.default_rng(seed)
    needed = steps * batch_pairs
    epochs = -(-needed // pairs)
    stream = np.concatenate([rng.permutation(pairs) for _ in range(epochs)])
    return stream[:needed].reshape(steps, batch_pairs)


def weighted_order(
    sources: Sequence[str | None],
    weights: Mapping[str, float],
    *,
    steps: int,
    batch_pairs: int,
    seed: int,
) -> npt.NDArray[np.int64]:
    """Choose the pairs of each step so that each source's share is proportional to its weight.

    At every position the source furthest behind its share is next, so any stretch of batches is
    mixed alike; within a source epochs follow each other as in `batch_order`.

    Args:
        sources: The source of each pair, (pairs,).
        weights: The weight of each source, above 0. Sources without pairs leave their share to the
            others.
        steps: Optimizer steps.
        batch_pairs: Pairs in each step, over all workers.
        seed: The seed of the shuffling.

    Returns:
        Pair indices, (steps, batch_pairs).
    """
    rng = np.random.default_rng(seed)
    members = {s: np.flatnonzero([x == s for x in sources]) for s in weights}
    streams = {s: _endless(indices, rng) for s, indices in members.items() if len(indices)}
    total = sum(weights[s] for s in streams)
    taken = dict.fromkeys(streams, 0)
    order = []
    for position in range(1, steps * batch_pairs + 1):
        behind = max(streams, key=lambda s: weights[s] / total * position - taken[s])
        taken[behind] += 1
        order.append(next(streams[behind]))
    return np.array(order, dtype=np.int64).reshape(steps, batch_pairs)


def _endless(indices: npt.NDArray[np.int64], rng: np.random.Generator) -> Iterator[int]:
    """Yield the indices in a new order each epoch, without end."""
    while True:
        yield from rng.permutation(indices)
