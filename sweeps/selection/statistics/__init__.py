"""Statistics of accuracies on pairs that come in groups of near-duplicate prompts. Pure and seeded.

Pairs of one group are not independent, so groups are what is counted, left out and flipped. The score
of a pair is 1 (right), ½ (a tie) or 0 (wrong), or a mean of such; an accuracy is the mean of scores.

A module imports only modules that stand before it in this list: groups, intervals, sign_flips,
comparisons, power.
"""

from __future__ import annotations

from sweeps.selection.statistics.comparisons import Comparison, ComparisonJson, compare, holm
from sweeps.selection.statistics.groups import CORRELATION, Groups, standard_errors
from sweeps.selection.statistics.intervals import CONFIDENCE, accuracy_intervals
from sweeps.selection.statistics.power import detectable_gain, fewest_pairs, significance_level
from sweeps.selection.statistics.sign_flips import fewest_groups

__all__ = [
    "CONFIDENCE",
    "CORRELATION",
    "Comparison",
    "ComparisonJson",
    "Groups",
    "accuracy_intervals",
    "compare",
    "detectable_gain",
    "fewest_groups",
    "fewest_pairs",
    "holm",
    "significance_level",
    "standard_errors",
]
