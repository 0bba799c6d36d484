"""Which pairs are trained in which step: a function of seed and sizes, the same for every trial."""

from __future__ import annotations

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
