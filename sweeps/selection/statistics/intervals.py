"""The interval of an accuracy, which respects groups, ties and the ends 0 and 1. Pure."""

from __future__ import annotations

import numpy as np
from scipy import special

from dpo_core.evaluation.outcomes import Floats
from sweeps.selection.statistics.groups import CORRELATION, ROUNDING, Groups, standard_errors

CONFIDENCE = 0.95
_IMAGINED_PAIRS = 2.0  # half of them right, half wrong: no observed spread is taken for none at all


def accuracy_intervals(scores: Floats, groups: Groups, confidence: float = CONFIDENCE) -> Floats:
    """Return the interval of each row's accuracy, which respects groups, ties and the ends 0 and 1.

    It is that of Korn and Graubard (1998): Clopper and Pearson's exact interval for as many
    independent pairs as would have the observed standard error. Where few groups differ, a standard
    error says little; so pairs of a group are taken to correlate at least by `CORRELATION` where
    nothing differs, and by less, the more groups do.

    Args:
        scores: Scores of the pairs, (rows, pairs), in [0, 1].
        groups: Groups of the pairs.
        confidence: Coverage of the intervals, in (0, 1).

    Returns:
        Both ends of each interval in [0, 1], (rows, 2); 0 and 1 where all pairs are of one group.
    """
    if len(groups.sizes) < 2:
        return np.tile([0.0, 1.0], (len(scores), 1))
    accuracy = scores.mean(axis=1)
    effective = _effective_pairs(scores, groups, confidence)
    right, tail = accuracy * effective, (1 - confidence) / 2
    wrong = np.maximum(effective - right, 0.0)
    # The quantiles of beta do not exist where nothing is right, or nothing wrong.
    low = np.where(right > 0, special.betaincinv(right, wrong + 1, tail), 0.0)
    high = np.where(wrong > 0, special.betaincinv(right + 1, wrong, 1 - tail), 1.0)
    bounds: Floats = np.stack([low, high], axis=1)
    return bounds


def _effective_pairs(scores: Floats, groups: Groups, confidence: float) -> Floats:
    """Return how many independent pairs without ties are as informative as each row, (rows,)."""
    pairs, accuracy = scores.shape[1], scores.mean(axis=1)
    spread = np.where(np.ptp(scores, axis=1) > ROUNDING, scores.var(axis=1), 0.0)
    of_binary, imagined = accuracy * (1 - accuracy), 0.25 * _IMAGINED_PAIRS / pairs
    without_ties = pairs * (of_binary + imagined) / (spread + imagined)
    count = pairs / groups.mean_size_over_pairs  # of groups, as if they were equally large
    correlation = CORRELATION * np.exp(-count * 4 * spread)  # 4 · spread is 1 for half right
    least = 1 + (groups.mean_size_over_pairs - 1) * correlation
    independent = np.where(spread > 0, spread / (pairs - 1), 1.0)
    effect = np.maximum(standard_errors(scores, groups) ** 2 / independent, least)
    upper = 0.5 + confidence / 2
    few_groups = special.stdtrit(pairs - 1, upper) / special.stdtrit(max(1.0, count - 1), upper)
    effective: Floats = without_ties / effect * few_groups**2
    return effective
