"""The power of a verdict: the gains that so many pairs can show, before anything is trained. Pure."""

from __future__ import annotations

import math

from scipy import special

from sweeps.selection.statistics.groups import Groups
from sweeps.selection.statistics.intervals import CONFIDENCE
from sweeps.selection.statistics.sign_flips import fewest_groups

POWER = 0.8
"""Probability with which a detectable gain is shown."""


def significance_level(openings: int = 1) -> float:
    """Return the level below which a p-value gives a verdict on pairs declared for some openings."""
    return (1 - CONFIDENCE) / openings


def detectable_gain(
    groups: Groups, discordance: float | None = None, openings: int = 1
) -> float | None:
    """Return the smallest true gain in accuracy that a verdict shows with a power of 80 %.

    The normal approximation is used. For one opening a gain is 2.8 standard errors: 1.96 for a
    p-value below 0.05, and 0.84 for the power. Scores of one group are taken to correlate by
    `CORRELATION`.

    Args:
        groups: Groups of the pairs of the split.
        discordance: Share of the pairs that two policies rank differently, in [0, 1]; None for a gain
            over the reference, which is right by ½ on every pair.
        openings: For how many openings the split is declared: the p-value is multiplied by it.

    Returns:
        The gain, in [0, ½]; None where no gain that is possible would be shown.
    """
    if len(groups.sizes) < fewest_groups(significance_level(openings)):
        return None
    spread, most = _spread_and_most(discordance)
    error = spread * math.sqrt(groups.design_effect() / len(groups.codes))
    gain = _standard_errors(openings) * error
    return gain if gain <= most else None


def fewest_pairs(groups: Groups, discordance: float | None = None, openings: int = 1) -> int:
    """Return how many pairs it takes to show the largest gain that is possible.

    Args:
        groups: Groups as large as those of the pairs would be.
        discordance: As `detectable_gain` has it.
        openings: As `detectable_gain` has it.

    Returns:
        The number of pairs.
    """
    spread, most = _spread_and_most(discordance)
    pairs = groups.design_effect() * (_standard_errors(openings) * spread / most) ** 2
    least = fewest_groups(significance_level(openings)) * groups.mean_size_over_pairs
    return math.ceil(max(pairs, least))


def _standard_errors(openings: int) -> float:
    """Return how many standard errors a gain is that is shown with a power of 80 %: 2.8 for one."""
    return float(special.ndtri(1 - significance_level(openings) / 2) + special.ndtri(POWER))


def _spread_and_most(discordance: float | None) -> tuple[float, float]:
    """Return the standard deviation of a pair's difference, and the largest gain that is possible."""
    return (0.5, 0.5) if discordance is None else (math.sqrt(discordance), discordance)
