"""Which pairs are trained in which step: a function of seed and sizes, the same for every trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt


def batch_order(pairs: int, *, steps: int, batch_pairs: int, seed: int) -> npt.NDArray[np.int64]:
    """Pair indices, shape (steps, batch_pairs). Epochs follow each other without a gap: the last
    batch of one is filled from the next, so every pair is seen equally often and none is dropped.
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
    """The same, with each source's part of the batches in proportion to its weight.

    At every place the source furthest behind its part is next, so any stretch of batches is mixed
    alike; within a source epochs follow each other as in `batch_order`.
    """
    rng = np.random.default_rng(seed)
    members = {s: np.flatnonzero([x == s for x in sources]) for s in weights}
    streams = {s: _endless(found, rng) for s, found in members.items() if len(found)}
    total = sum(weights[s] for s in streams)
    taken = dict.fromkeys(streams, 0)
    order = []
    for place in range(1, steps * batch_pairs + 1):
        behind = max(streams, key=lambda s: weights[s] / total * place - taken[s])
        taken[behind] += 1
        order.append(next(streams[behind]))
    return np.array(order, dtype=np.int64).reshape(steps, batch_pairs)


def _endless(indices: npt.NDArray[np.int64], rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(indices)
