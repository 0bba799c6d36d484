"""The verdict on the winner from the final split: a word, a sentence and the numbers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dpo_core.wording import counted
from sweeps.run_dir.json_types import VerdictJson
from sweeps.selection.eligibility import MOVED
from sweeps.selection.rule import Candidate
from sweeps.selection.statistics import CONFIDENCE, Comparison, fewest_groups, significance_level

BETTER, SAME, WORSE = "better", "not distinguishable", "worse"
NOTHING, NO_VERDICT = "no admissible candidate", "no verdict"
REFERENCE, INCUMBENT = "reference", "incumbent"


@dataclass(frozen=True)
class Verdict:
    """The result of a sweep, as users read it."""

    word: str
    sentence: str
    against: str
    """What the winner is compared with: `incumbent` where there is one, else `reference`."""
    comparison: Comparison | None = None

    def as_dict(self) -> VerdictJson:
        """Return the verdict as selection.json holds it; numbers are null without a comparison."""
        comparison = self.comparison
        return {
            "word": self.word,
            "sentence": self.sentence,
            "against": self.against,
            "difference": comparison.difference if comparison else None,
            "interval": list(comparison.interval) if comparison else None,
            "p_value": comparison.p_value if comparison else None,
        }


@dataclass(frozen=True)
class RaisedThreshold:
    """A threshold τ that the noise of half precision raised above `selection.min_margin`."""

    min_margin: float
    """The setting, in nats."""
    noise: float
    """Root mean square of the noise of a pair's margin, in nats."""
    dtype: str
    """The dtype of scoring."""
    undecided: int
    """Candidates that moved more than half of the pairs by more than the setting alone, and are
    right more often than the untouched model."""
    float32_price: float | None
    """How many times as much the sweep costs when it scores in float32; None where that is unknown."""


def verdict_word(comparison: Comparison) -> str:
    """Return `better` or `worse` if both the interval and the p-value show a difference."""
    low, high = comparison.interval
    if comparison.p_value >= 1 - CONFIDENCE or low <= 0 <= high:
        return SAME
    return BETTER if low > 0 else WORSE


def verdict_on_final(
    comparison: Comparison,
    name: str,
    pairs: int,
    against: str,
    openings: int = 1,
    number: int = 1,
    *,
    groups: int | None = None,
    threshold: float = 0.0,
    confirmed: bool | None = None,
) -> Verdict:
    """Decide whether the winner is better than what it is compared with.

    Args:
        comparison: The winner's accuracy minus the other's on the final split.
        name: The winner as a reader knows it.
        pairs: How many pairs the final split has.
        against: What the winner is compared with.
        openings: For how many openings the final split was declared before the first. Each is a
            chance to find a difference that is none, so the p-value is multiplied by it (Bonferroni).
        number: Which opening this is; one beyond those declared has numbers, but no verdict.
        groups: How many groups of near-duplicate prompts the pairs are in; None for one a pair.
        threshold: τ, the margin in nats beyond which a pair counts.
        confirmed: Whether the winner is one of the points trained again; None where none was.

    Returns:
        The verdict, with the corrected p-value.
    """
    corrected = replace(comparison, p_value=min(1.0, openings * comparison.p_value))
    word = verdict_word(corrected) if number <= openings else NO_VERDICT
    low, high = (100 * bound for bound in corrected.interval)
    paid = f" for {openings} openings of final" if openings > 1 else ""
    numbers = (
        f"{100 * corrected.difference:+z.1f} points on {counted(pairs, 'final pair')}"
        f"{_in_groups(pairs, pairs if groups is None else groups, openings)}, "
        f"95 % interval {low:+z.1f} to {high:+z.1f}, {_format_p_value(corrected.p_value)}{paid}"
        f"{_conditions(threshold, confirmed)}"
    )
    sentences = {
        BETTER: f"{name} is better than the {against}: {numbers}",
        SAME: f"{name} is not distinguishable from the {against}, so keep the {against}: {numbers}",
        WORSE: f"{name} is worse than the {against}, so keep the {against}: {numbers}",
        NO_VERDICT: (
            f"there is no verdict on {name}, so keep the {against}: this is opening {number} of final "
            f"pairs that were declared for {openings}, and numbers of pairs that were looked at before "
            f"prove nothing ({numbers}); give final prompts that were in none before (data.final_path), "
            "and say for how many openings they are (selection.final_openings)"
        ),
    }
    return Verdict(word, sentences[word], against, corrected)


def verdict_without_winner(
    candidates: Sequence[Candidate],
    threshold: float,
    against: str,
    raised: RaisedThreshold | None = None,
) -> Verdict:
    """Explain why there is no winner.

    Args:
        candidates: All candidates, with their checks.
        threshold: τ, the margin in nats beyond which a pair counts as moved.
        against: What a winner would have been compared with.
        raised: How noise set the threshold; None where the setting did.

    Returns:
        A verdict without numbers.
    """
    return Verdict(NOTHING, _why_no_winner(candidates, threshold, against, raised), against)


def _why_no_winner(
    candidates: Sequence[Candidate],
    threshold: float,
    against: str,
    raised: RaisedThreshold | None,
) -> str:
    if not candidates:
        return "no trial was ever evaluated"
    moved = [c for c in candidates if c.violations.get(MOVED, 0) <= 0]
    if not moved and raised is not None and raised.undecided:
        return _undecided_by_noise(candidates, threshold, against, raised)
    if not moved:
        return (
            f"no trial moved the model, so keep the {against}: none of {_count(candidates)} "
            f"changed the odds of more than half of the select pairs by more than {threshold:.3g} nats; "
            "raise the learning rates or training.max_steps"
        )
    eligible = [c for c in moved if c.eligible]
    if not eligible:
        return (
            f"no trial ranks held-out pairs better than the untouched model, so keep the {against}: "
            f"none of {_count(moved)} that moved it is right more often than wrong; try lower learning "
            "rates or more steps, and read what the audit says of the pairs"
        )
    excluded = Counter(name for c in eligible for name, check in c.checks.items() if check.excludes)
    counts = ", ".join(f"{name} {count}" for name, count in excluded.items())
    return (
        f"none of {_count(eligible)} that moved the model is admissible, so keep the "
        f"{against}; excluded by guardrails: {counts}"
    )


def _undecided_by_noise(
    candidates: Sequence[Candidate], threshold: float, against: str, raised: RaisedThreshold
) -> str:
    price = (
        f", at {raised.float32_price:.1f} times the price of this one"
        if raised.float32_price is not None
        else ""
    )
    return (
        f"no trial surely moved the model, so keep the {against}: the noise of "
        f"{raised.dtype or 'half precision'}, "
        f"{raised.noise:.2g} nats a margin, sets the threshold to {threshold:.3g} nats. Of "
        f"{_count(candidates)}, {raised.undecided} would count at the {raised.min_margin:g} nats of "
        "selection.min_margin, and noise alone may do that; a new sweep with "
        f"selection.score_dtype=float32 decides{price}"
    )


def _count(candidates: Sequence[Candidate]) -> str:
    return counted(len(candidates), "candidate")


def role_of_choice(word: str | None) -> str:
    """Return what readers call the chosen checkpoint: a winner only where it is better."""
    return "winner" if word == BETTER else "selected checkpoint"


def _in_groups(pairs: int, groups: int, openings: int) -> str:
    """Name the groups where they are fewer than the pairs, and say what too few of them can show."""
    named = f" in {counted(groups, 'group')} of near-duplicate prompts" if groups < pairs else ""
    fewest = fewest_groups(significance_level(openings))
    level = "at 5 %" if openings == 1 else f"at 5 % for {openings} openings"
    few = f" (no {fewest - 1} groups can show anything {level})"
    return named + (few if groups < fewest else "")


def _conditions(threshold: float, confirmed: bool | None) -> str:
    condition = f"; a pair counts where its odds moved by more than {threshold:.3g} nats"
    unconfirmed = "; it is unconfirmed, as none of the points that were trained again can win"
    return (condition if threshold else "") + (unconfirmed if confirmed is False else "")


def _format_p_value(p_value: float) -> str:
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
