"""Statistics of accuracies on pairs that share prompts. Pure and seeded.

Pairs of one prompt are not independent, so whole prompt groups are resampled and counted. The score
of a pair is 1 (right), ½ (a tie) or 0 (wrong); an accuracy is the mean of scores, in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypedDict

import numpy as np
from scipy import stats

from dpo_core.evaluation.outcomes import Count, Floats, Ints

CONFIDENCE = 0.95
RESAMPLES = 4000
EXACT_BELOW = 25  # with fewer groups that differ, the bootstrap's p-value can be far too small
_BLOCK = 4_000_000  # weights in memory at once
_ROUNDING = 1e-9  # larger than what rounding leaves of a difference of means over seeds


class ComparisonJson(TypedDict):
    """A comparison as selection.json holds it."""

    difference: float
    interval: list[float]
    p_value: float


@dataclass(frozen=True)
class Groups:
    """Prompt groups of the pairs of a split."""

    codes: Ints
    """(pairs,): the group of each pair as a number from 0."""

    @classmethod
    def of(cls, names: Sequence[str]) -> Groups:
        """Build the groups from the name of each pair's group, in the order of the pairs."""
        return cls(np.unique(np.array(names, dtype=str), return_inverse=True)[1].astype(np.int64))

    @cached_property
    def sizes(self) -> Ints:
        """Return how many pairs each group has, (groups,)."""
        return np.bincount(self.codes)

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


def standard_errors(values: Floats, groups: Groups) -> Floats:
    """Return the standard error of each row's mean over the pairs, (rows, pairs) to (rows,).

    It is the cluster-robust one, to which a bootstrap over groups converges; infinite where all
    pairs are of one group.
    """
    count, total = len(groups.sizes), values.shape[1]
    if count < 2:
        return np.full(len(values), np.inf)
    residuals = groups.sums(values - values.mean(axis=1, keepdims=True))
    errors: Floats = np.sqrt((residuals**2).sum(axis=1) * count / (count - 1)) / total
    return errors


def design_effect(values: Floats, groups: Groups) -> float:
    """Return by what factor groups increase the variance of an accuracy (Kish 1965).

    `values` are scores, (pairs,); the variance is compared with that of as many independent pairs of
    the same accuracy. The factor is at least 1, and 1 where all scores are equal or all pairs are of
    one group.
    """
    accuracy = float(values.mean())
    independent = accuracy * (1 - accuracy) / len(values)
    error = float(standard_errors(values[None], groups)[0])
    if not independent or not np.isfinite(error):
        return 1.0
    return max(1.0, error**2 / independent)


def compare(differences: Floats, groups: Groups, seed: int = 0) -> list[Comparison]:
    """Compare pairs of policies on the same pairs of answers.

    The interval is that of the percentile bootstrap over groups. The p-value is the bootstrap's too;
    where few groups differ at all, it is no smaller than that of McNemar's exact test over groups.
    One imagined pair in favour of each policy is resampled with the real ones (Bonett and Price
    2012); without them a handful of pairs that agree would give an interval of width zero.

    Args:
        differences: One policy's scores minus another's, (rows, pairs).
        groups: Prompt groups of the pairs.
        seed: Seed of the bootstrap.

    Returns:
        A comparison for each row.
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
    """Return the two-sided p-value of McNemar's exact test.

    `better` and `worse` count the units in favour of either of two equally good policies.
    """
    from statsmodels.stats.contingency_tables import mcnemar as test  # slow to import

    return float(test([[0, better], [worse, 0]], exact=True).pvalue)


def _exact_p(net: Floats) -> float:
    """Return McNemar's p-value over the groups' net differences; 0 where many are not zero."""
    better, worse = int((net > _ROUNDING).sum()), int((net < -_ROUNDING).sum())
    if better + worse >= EXACT_BELOW:
        return 0.0
    return mcnemar(better, worse) if better + worse else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values in their order, corrected for their number (Holm 1979)."""
    from statsmodels.stats.multitest import multipletests  # slow to import

    return [float(p) for p in multipletests(p_values, method="holm")[1]] if p_values else []


def _bootstrap(differences: Floats, groups: Groups, seed: int) -> tuple[Floats, Floats]:
    """Return the bounds of the intervals, (rows, 2), and two-sided p-values, (rows,)."""
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
    # Where no resample crosses zero, the normal tail gives p-values below 1 / RESAMPLES: a
    # correction for many candidates needs them.
    spread = means.std(axis=1)
    distance = np.abs(means.mean(axis=1)) / np.where(spread > 0, spread, 1.0)
    return bounds, np.where(beyond, p_values, np.minimum(p_values, 2 * stats.norm.sf(distance)))


def _weights(count: int, seed: int) -> Iterator[Floats]:
    """Yield how often each of `count` groups is drawn in each resample, (resamples, count)."""
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
    """Return Wilson's score interval of an accuracy (Wilson 1927), where ties count half.

    Args:
        count: Pairs that are right, tied, and all.
        confidence: Coverage of the interval, in (0, 1).
        design_effect: Factor by which the variance is larger than that of independent pairs; the
            interval is that of so many times fewer pairs (Kish 1965).

    Returns:
        Both ends, in [0, 1]; 0 and 1 without a pair.
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
    """Return the smallest gain in accuracy that a paired test (McNemar) shows.

    The normal approximation is used: 1,000 pairs with a discordance of 10 % give 0.028. The gain
    cannot exceed the discordance itself.

    Args:
        pairs: Pairs of the test.
        discordance: Share of the pairs on which two policies disagree, in [0, 1].
        power: Probability with which the gain is shown.
        alpha: Probability with which a gain is shown where there is none.

    Returns:
        The gain, in [0, 1].
    """
    z = float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power))
    return min(discordance, z * math.sqrt(discordance / pairs)) if pairs else 1.0
