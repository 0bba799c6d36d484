"""The statistics that a sweep is planned and read with. Pure; scipy does the work."""

from __future__ import annotations

import math

from scipy import stats

from dpo_core.evaluation.outcomes import Count


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
