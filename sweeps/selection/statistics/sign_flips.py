"""The sign-flip test: whether the groups' sums favour one policy more than chance would. Pure, seeded.

If two policies are equally good, a group could as well have had its sum with the other sign. So the
total of all sums is compared with what it would be under other signs: all of them where groups are
few, 4,096 otherwise. Nothing is assumed about the groups' sizes, variances or distribution,
except that a sum and its negative are equally likely.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from scipy import special

from dpo_core.evaluation.outcomes import Floats, Ints
from sweeps.selection.statistics.groups import ROUNDING

_EXACT_UP_TO = 13  # groups, whose 4,096 halves are all tried; of more groups 4,096 are
_BLOCK = 4_000_000  # numbers in memory at once


def fewest_groups(level: float) -> int:
    """Return the number of groups below which no p-value is below a level.

    All signs agree with probability 2 / 2^groups.
    """
    return math.floor(math.log2(2 / level)) + 1


def sign_flip_p_values(sums: Floats) -> Floats:
    """Return the two-sided p-value of each row of the groups' sums, (rows, groups) to (rows,).

    Totals that tie with the observed one count half (mid-p, Lancaster 1961), without which scores of
    0, ½ and 1 make the test far too strict; the observed signs themselves count whole. Where not all
    signs are tried and none reach the observed total, the normal tail says how rare it is.
    """
    groups, totals = sums.shape[1], sums.sum(axis=1)
    tried, extreme = 0, np.full(len(sums), 0.5)
    for halves in _halves(groups):
        tried += len(halves)
        rows = max(1, _BLOCK // len(halves))
        for start in range(0, len(sums), rows):
            part = slice(start, start + rows)
            extreme[part] += _count_extreme(sums[part], totals[part], halves)
    p_values = np.where(np.abs(totals) < ROUNDING, 1.0, extreme / tried)
    if groups > _EXACT_UP_TO:
        alone = p_values <= 1 / tried
        p_values[alone] = np.minimum(p_values[alone], _tail(sums[alone]))
    return p_values


def smallest_shift_not_rejected(sums: Floats, sizes: Ints, level: float) -> float:
    """Return the end towards zero of the interval that belongs to the sign-flip test.

    The mean of pairs that is tested is shifted until the test no longer rejects it. A shift is as
    extreme under other signs as observed where it lies between the means of both halves: of the
    groups whose sign flips, and of the others (Hartigan 1969).

    Args:
        sums: Sums over the pairs of each group, (groups,), with a total above zero that is
            significant at `level`.
        sizes: Pairs of each group, (groups,).
        level: Level of the test, in (0, 1).

    Returns:
        The end, above zero.
    """
    lower = np.sort(np.concatenate([_lower_means(sums, sizes, h) for h in _halves(len(sums))]))
    at_level = lower[int(np.ceil(level * len(lower))) - 1]
    return float(max(at_level, lower[lower > ROUNDING].min()))


def _count_extreme(sums: Floats, totals: Floats, halves: Floats) -> Floats:
    """Return how many flips of each row have a total beyond the observed one; ties count half."""
    away = sums @ halves.T
    away -= totals[:, None] / 2
    np.abs(away, out=away)  # half of the total under the flips
    observed = np.abs(totals)[:, None] / 2
    beyond = np.count_nonzero(away > observed + ROUNDING, axis=1)
    no_less = np.count_nonzero(away >= observed - ROUNDING, axis=1)
    count: Floats = (beyond + no_less) / 2
    return count


def _lower_means(sums: Floats, sizes: Ints, halves: Floats) -> Floats:
    """Return the lower of the means of both halves, (halves,); −∞ where one half has no group."""
    half_sums, half_sizes = halves @ sums, halves @ sizes
    with np.errstate(divide="ignore", invalid="ignore"):
        one = half_sums / half_sizes
        other = (sums.sum() - half_sums) / (sizes.sum() - half_sizes)
    lower: Floats = np.where(np.isnan(one + other), -np.inf, np.minimum(one, other))
    return lower


def _tail(sums: Floats) -> Floats:
    """Return the normal approximation of p-values, but none below that of all signs that agree."""
    spread = np.sqrt((sums**2).sum(axis=1))
    normal = 2 * special.ndtr(-np.abs(sums.sum(axis=1)) / spread)
    differing = np.count_nonzero(np.abs(sums) > ROUNDING, axis=1)
    tail: Floats = np.maximum(normal, 2.0 ** (1 - differing))
    return tail


def _halves(groups: int) -> Iterator[Floats]:
    """Yield which groups flip, 1 or 0, (halves, groups). The first half of all flips no group."""
    count = 2 ** (min(max(groups, 1), _EXACT_UP_TO) - 1)
    rows = max(1, _BLOCK // groups)
    for start in range(0, count, rows):
        yield _some_halves(groups, count, start, min(start + rows, count))


@lru_cache(maxsize=1)  # mostly all of them, for the same groups again and again
def _some_halves(groups: int, count: int, start: int, stop: int) -> Floats:
    """Return the halves from `start` to `stop` of `count`, (halves, groups).

    Flipping the other groups gives the same absolute total. So where all halves are tried, the last
    group never flips. Otherwise a half flips the groups whose column has an odd number of bits in
    common with the half's number. Such halves are closed under composition, which keeps the test
    valid, and flip each two groups independently, which makes 4,096 of them as precise as four times
    as many random ones.
    """
    if groups <= _EXACT_UP_TO:
        columns = 2 ** np.arange(groups) % count
    else:
        rng = np.random.default_rng(0)
        columns = rng.choice(np.arange(1, count), groups, replace=groups >= count)
    numbers = np.arange(start, stop)[:, None]
    flips: Floats = (np.bitwise_count(numbers & columns) % 2).astype(np.float64)
    return flips
