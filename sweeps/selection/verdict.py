"""What the final split says about the winner: a word, a sentence, and the numbers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sweeps.selection.statistics import CONFIDENCE, Comparison

BETTER, SAME, WORSE = "better", "not distinguishable", "worse"
NOTHING = "no admissible candidate"
REFERENCE, INCUMBENT = "reference", "incumbent"


@dataclass(frozen=True)
class Verdict:
    """`against` is what the winner was compared with: the reference, or the incumbent if given."""

    word: str
    sentence: str
    against: str
    comparison: Comparison | None = None

    def as_dict(self) -> dict[str, Any]:
        told = self.comparison
        return {
            "word": self.word,
            "sentence": self.sentence,
            "against": self.against,
            "difference": told.difference if told else None,
            "interval": list(told.interval) if told else None,
            "p_value": told.p_value if told else None,
        }


def word_of(comparison: Comparison) -> str:
    """`better` and `worse` need both the interval and the p-value to say so."""
    low, high = comparison.interval
    if comparison.p_value >= 1 - CONFIDENCE or low <= 0 <= high:
        return SAME
    return BETTER if low > 0 else WORSE


def judge(
    comparison: Comparison, name: str, pairs: int, against: str, openings: int = 1
) -> Verdict:
    """`name` is the winner as a reader knows it; `comparison` is over the `pairs` final pairs, which
    were opened so many times: each look is one more chance, so p is multiplied by them
    (Bonferroni)."""
    comparison = replace(comparison, p_value=min(1.0, openings * comparison.p_value))
    word = word_of(comparison)
    low, high = (100 * bound for bound in comparison.interval)
    again = f", final opened {openings} times" if openings > 1 else ""
    numbers = (
        f"{100 * comparison.difference:+.1f} points on {pairs} final pairs, "
        f"95 % interval {low:+.1f} to {high:+.1f}, {_shown(comparison.p_value)}{again}"
    )
    told = {
        BETTER: f"{name} is better than the {against}: {numbers}",
        SAME: f"{name} is not distinguishable from the {against}, so keep the {against}: {numbers}",
        WORSE: f"{name} is worse than the {against}, so keep the {against}: {numbers}",
    }
    return Verdict(word, told[word], against, comparison)


def nothing_admissible(candidates: int, broken: Mapping[str, int], against: str) -> Verdict:
    """`broken` counts the candidates that each guardrail excluded."""
    why = ", ".join(f"{name} {count}" for name, count in broken.items())
    if not candidates:
        return Verdict(NOTHING, "no trial was ever evaluated", against)
    return Verdict(
        NOTHING,
        f"none of {candidates} candidates is admissible, so keep the {against}; "
        f"excluded by guardrails: {why}",
        against,
    )


def _shown(p_value: float) -> str:
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
