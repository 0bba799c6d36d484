"""Two policies on the same pairs, compared over prompt groups: pairs of one prompt are not
independent, so whole groups are what is resampled and counted. Pure and seeded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import stats

from dpo_core.evaluation.outcomes import Count, Floats, Ints

CONFIDENCE = 0.95
RESAMPLES = 4000
EXACT_BELOW = 25  # groups that differ: with fewer, resampling them is not to be trusted
_BLOCK = 4_000_000  # weights in memory at once
_ROUNDING = 1e-9  # of means over three seeds


@dataclass(frozen=True)
class Groups:
    """The prompt group of each pair as a number from 0, in the order of the pairs."""

    codes: Ints

    @classmethod
    def of(cls, names: Sequence[str]) -> Groups:
        return cls(np.unique(np.array(names, dtype=str), return_inverse=True)[1].astype(np.int64))

    @cached_property
    def sizes(self) -> Ints:
        return np.bincount(self.codes)

    def sums(self, values: Floats) -> Floats:
        """(rows, pairs) to (rows, groups)."""
        total: Floats = np.add.reduceat(values[:, self._order], self._starts, axis=1)
        return total

    @cached_property
    def _order(self) -> Ints:
        return np.argsort(self.codes, kind="stable")

    @cached_property
    def _starts(self) -> Ints:
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]])


@dataclass(frozen=True)
class Comparison:
    """Difference of two accuracies with its interval and p-value (two-sided), in [-1, 1]."""

    difference: float
    interval: tuple[float, float]
    p_value: float

    def as_dict(self) -> dict[str, Any]:
        return {
            "difference": self.difference,
            "interval": list(self.interval),
            "p_value": self.p_value,
        }


def standard_errors(values: Floats, groups: Groups) -> Floats:
    """Of each row's mean, (rows, pairs) to (rows,): what a bootstrap over groups converges to."""
    count, total = len(groups.sizes), values.shape[1]
    if count < 2:
        return np.full(len(values), np.inf)
    residuals = groups.sums(values - values.mean(axis=1, keepdims=True))
    errors: Floats = np.sqrt((residuals**2).sum(axis=1) * count / (count - 1)) / total
    return errors


def design_effect(values: Floats, groups: Groups) -> float:
    """How many times the variance of a mean of (pairs,) is larger than that of independent pairs
    with as many right; at least 1, and 1 where nothing varies or there is but one group."""
    accuracy = float(values.mean())
    independent = accuracy * (1 - accuracy) / len(values)
    error = float(standard_errors(values[None], groups)[0])
    if not independent or not np.isfinite(error):
        return 1.0
    return max(1.0, error**2 / independent)


def compare(differences: Floats, groups: Groups, seed: int = 0) -> list[Comparison]:
    """Each row of (rows, pairs) holds one policy's scores minus another's on the same pairs.

    The interval is the percentile bootstrap's over groups. The p-value is the bootstrap's too; where
    few groups differ at all, it is no smaller than McNemar's exact one over groups. One imagined
    pair each way is resampled with the real ones (Bonett and Price 2012), or a handful of pairs
    that agree would pass for certainty.
    """
    bounds, p_values = _bootstrap(differences, groups, seed)
    net = groups.sums(differences)
    return [
        Comparison(float(row.mean()), (low, high), max(p, _exact_p(of_groups)))
        for row, of_groups, (low, high), p in zip(
            differences, net, bounds.tolist(), p_values.tolist(), strict=True
        )
    ]


def mcnemar(better: int, worse: int) -> float:
    """Two-sided exact p of so many units in favour of either policy, were both equally good."""
    from statsmodels.stats.contingency_tables import mcnemar as test  # slow to import

    return min(1.0, float(test([[0, better], [worse, 0]], exact=True).pvalue))


def _exact_p(net: Floats) -> float:
    """McNemar's over the groups' net differences where few are not zero, else 0: no objection."""
    better, worse = int((net > _ROUNDING).sum()), int((net < -_ROUNDING).sum())
    if better + worse >= EXACT_BELOW:
        return 0.0
    return mcnemar(better, worse) if better + worse else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected for their number; order is kept."""
    from statsmodels.stats.multitest import multipletests  # slow to import

    return [float(p) for p in multipletests(p_values, method="holm")[1]] if p_values else []


def _bootstrap(differences: Floats, groups: Groups, seed: int) -> tuple[Floats, Floats]:
    """Bounds (rows, 2) and two-sided p-values (rows,)."""
    largest = np.abs(differences).max(axis=1, keepdims=True)
    sums = np.concatenate([groups.sums(differences), largest, -largest], axis=1)
    sizes = np.concatenate([groups.sizes, [1, 1]])
    means = np.concatenate(
        [sums @ weights.T / (weights @ sizes) for weights in _weights(len(sizes), seed)], axis=1
    )
    tail = (1 - CONFIDENCE) / 2
    bounds = np.quantile(means, [tail, 1 - tail], axis=1).T
    beyond = np.minimum((means <= 0).sum(axis=1), (means >= 0).sum(axis=1))
    p_values = np.minimum(1.0, 2 * (beyond + 1) / (RESAMPLES + 1))
    # Smaller than so many resamples resolve, as corrections for many candidates need it.
    spread = means.std(axis=1)
    distance = np.abs(means.mean(axis=1)) / np.where(spread > 0, spread, 1.0)
    return bounds, np.where(beyond, p_values, np.minimum(p_values, 2 * stats.norm.sf(distance)))


def _weights(count: int, seed: int) -> Iterator[Floats]:
    """How often each of `count` groups is drawn in each resample, in blocks of resamples."""
    rng = np.random.default_rng(seed)
    rows = max(1, _BLOCK // count)
    for start in range(0, RESAMPLES, rows):
        block = min(rows, RESAMPLES - start)
        drawn = rng.integers(0, count, (block, count)) + count * np.arange(block)[:, None]
        yield (
            np.bincount(drawn.ravel(), minlength=block * count)
            .reshape(block, count)
            .astype(np.float64)
        )


def wilson_interval(
    count: Count, confidence: float = 0.95, design_effect: float = 1.0
) -> tuple[float, float]:
    """Wilson's score interval of an accuracy, in [0, 1]; ties count half.

    `design_effect` is how many times the variance is larger than that of so many independent pairs;
    the interval is that of so many times fewer pairs (Kish 1965).
    """
    if not count.total:
        return 0.0, 1.0
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    n, p = count.total / design_effect, count.accuracy
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def detectable_gain(
    pairs: int, discordance: float = 0.1, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Smallest accuracy gain that a paired test (McNemar) on so many pairs shows, in [0, 1].

    `discordance` is the share of pairs on which two policies disagree. 1,000 pairs at 10 % give
    2.8 points. Normal approximation; the gain cannot exceed the discordance itself.
    """
    z = float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power))
    return min(discordance, z * math.sqrt(discordance / pairs)) if pairs else 1.0
