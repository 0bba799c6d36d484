"""Comparisons of policies on the same pairs: difference, interval and p-value, which agree. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from dpo_core.evaluation.outcomes import Floats, Ints
from sweeps.selection.statistics.groups import ROUNDING, Groups
from sweeps.selection.statistics.intervals import CONFIDENCE, accuracy_intervals
from sweeps.selection.statistics.sign_flips import (
    sign_flip_p_values,
    smallest_shift_not_rejected,
)


class ComparisonJson(TypedDict):
    """A comparison as selection.json holds it."""

    difference: float
    interval: list[float]
    p_value: float


@dataclass(frozen=True)
class Comparison:
    """The difference of two accuracies on the same pairs, in [-1, 1]."""

    difference: float
    interval: tuple[float, float]
    """Ends of the 95 % interval."""
    p_value: float
    """Two-sided."""

    def as_dict(self) -> ComparisonJson:
        """Return the comparison as selection.json holds it."""
        return {
            "difference": self.difference,
            "interval": list(self.interval),
            "p_value": self.p_value,
        }


def compare(differences: Floats, groups: Groups) -> list[Comparison]:
    """Compare pairs of policies on the same pairs of answers.

    The p-value is that of the sign-flip test over groups. The interval is that of `accuracy_intervals`
    for a difference, and excludes 0 exactly where the p-value is below 0.05: where both disagree about
    0, its end is the one that belongs to the test, or 0.

    Args:
        differences: One policy's scores minus another's, (rows, pairs), in [-1, 1].
        groups: Groups of the pairs.

    Returns:
        A comparison for each row.
    """
    sums = groups.sums(differences)
    p_values = sign_flip_p_values(sums)
    return [
        Comparison(float(row.mean()), _agreeing(bounds, p, row_sums, groups.sizes), p)
        for row, row_sums, p, bounds in zip(
            differences,
            sums,
            p_values.tolist(),
            _difference_intervals(differences, groups).tolist(),
            strict=True,
        )
    ]


def _difference_intervals(differences: Floats, groups: Groups) -> Floats:
    """Return the interval of each row's mean, (rows, 2); 0 and 0 where no pair differs.

    No difference from a reference that is right by ½ on every pair exceeds ½, so its interval is that
    of the accuracy, less ½.
    """
    largest = np.abs(differences).max(axis=1, keepdims=True)
    limit = np.where(largest <= 0.5 + ROUNDING, 0.5, 1.0)
    as_scores = np.clip((differences / limit + 1) / 2, 0.0, 1.0)
    bounds: Floats = (2 * accuracy_intervals(as_scores, groups) - 1) * limit
    bounds[largest[:, 0] == 0] = 0.0  # a policy and itself
    return bounds


def _agreeing(
    bounds: Sequence[float], p_value: float, sums: Floats, sizes: Ints
) -> tuple[float, float]:
    """Return an interval with 0 in it exactly where the p-value does not exclude 0."""
    low, high = bounds
    if p_value >= 1 - CONFIDENCE:
        return min(low, 0.0), max(high, 0.0)
    if low > 0 or high < 0:
        return low, high
    if sums.sum() > 0:
        return smallest_shift_not_rejected(sums, sizes, 1 - CONFIDENCE), high
    return low, -smallest_shift_not_rejected(-sums, sizes, 1 - CONFIDENCE)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values in their order, corrected for their number (Holm 1979)."""
    order = np.argsort(p_values)
    steps = np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(np.take(p_values, order) * steps))
    return [float(p) for p in corrected]
