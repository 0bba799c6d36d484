"""Groups of pairs and rows of scores, as the tests of statistics write them."""

from __future__ import annotations

import numpy as np

from sweeps.selection.statistics import Groups


def alone(pairs: int) -> Groups:
    """Each pair is a group of its own."""
    return Groups(np.arange(pairs, dtype=np.int64))


def rows(*values: list[float]) -> np.ndarray:
    return np.array(values, dtype=np.float64)
