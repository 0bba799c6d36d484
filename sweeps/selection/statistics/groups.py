"""Groups of pairs whose prompts are nearly the same, and the standard error that they leave. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from dpo_core.evaluation.outcomes import Floats, Ints

CORRELATION = 0.5
"""How much scores of one group are taken to correlate where the data cannot tell."""
ROUNDING = 1e-9
"""Larger than what rounding leaves of sums and differences of means over seeds."""


@dataclass(frozen=True)
class Groups:
    """Prompt groups of the pairs of a split."""

    codes: Ints
    """(pairs,): the group of each pair as a number from 0."""

    @classmethod
    def of(cls, names: Sequence[str]) -> Groups:
        """Build the groups from the name of each pair's group, in the order of the pairs."""
        return cls(np.unique(np.array(names, dtype=str), return_inverse=True)[1].astype(np.int64))

    def where(self, mask: npt.NDArray[np.bool_]) -> Groups:
        """Return the groups of the pairs that the mask, (pairs,), selects."""
        return Groups(np.unique(self.codes[mask], return_inverse=True)[1].astype(np.int64))

    @cached_property
    def sizes(self) -> Ints:
        """Return how many pairs each group has, (groups,)."""
        return np.bincount(self.codes)

    @cached_property
    def mean_size_over_pairs(self) -> float:
        """Return the size of a pair's group, averaged over the pairs: large groups count for more."""
        return float((self.sizes**2).sum() / self.sizes.sum())

    def design_effect(self, correlation: float = CORRELATION) -> float:
        """Return by what factor groups increase the variance of an accuracy (Kish 1965).

        `correlation` is that of two scores of one group, in [0, 1].
        """
        return 1 + (self.mean_size_over_pairs - 1) * correlation

    def sums(self, values: Floats) -> Floats:
        """Return the sums over the pairs of each group: (rows, pairs) to (rows, groups)."""
        sums: Floats = np.add.reduceat(values[:, self._order], self._starts, axis=1)
        return sums

    @cached_property
    def _order(self) -> Ints:
        return np.argsort(self.codes, kind="stable")

    @cached_property
    def _starts(self) -> Ints:
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]])


def standard_errors(values: Floats, groups: Groups) -> Floats:
    """Return the standard error of each row's mean over the pairs, (rows, pairs) to (rows,).

    It is the jackknife's, which leaves out one group at a time; infinite where all pairs are of one
    group.
    """
    count, pairs = len(groups.sizes), values.shape[1]
    if count < 2:
        return np.full(len(values), np.inf)
    residuals = groups.sums(values - values.mean(axis=1, keepdims=True))
    moved = residuals / (pairs - groups.sizes)  # of the mean, when the group is left out
    errors: Floats = np.sqrt((moved**2).sum(axis=1) * (count - 1) / count)
    return errors
