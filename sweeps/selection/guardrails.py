"""Guardrails: limits on numbers of a candidate that keep it from winning, whatever its accuracy.

Pure functions. The limits and their actions are those of `GuardrailSettings`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dpo_core.evaluation.failure_modes import drift_and_displacement
from dpo_core.evaluation.outcomes import Floats, Outcomes
from dpo_core.wording import counted
from sweeps.config.selection import GuardrailSettings
from sweeps.run_dir.json_types import AnswerJson, CheckJson
from sweeps.selection.answer_comparison import compare_lengths, compare_loops
from sweeps.selection.eligibility import MARGIN
from sweeps.selection.split_scores import pair_scores
from sweeps.selection.statistics import Groups, accuracy_intervals

LIKELIHOOD = "likelihood_accuracy"
"""The objective that compares a policy's sums of log-probs without the untouched model's."""
LEAST_PAIRS = 10
"""Fewer pairs than these make no slice that can be tested."""


@dataclass(frozen=True)
class Measurement:
    """The number of one candidate that a guardrail limits."""

    value: float | None
    """None where it cannot be measured."""
    note: str = ""
    """What a reader has to know beside the number."""
    is_sure: bool = True
    """Whether a value over the limit excludes; False where it may be chance."""


@dataclass(frozen=True)
class Check:
    """One guardrail applied to one candidate; `passed` is None while the value is unknown."""

    value: float | None
    """None while it is unknown, and where it is not finite."""
    limit: float
    passed: bool | None
    action: str
    """`exclude` or `warn`."""
    note: str = ""
    """What a reader has to know beside the number."""

    @property
    def excludes(self) -> bool:
        """Return whether the candidate cannot win because of this guardrail."""
        return self.passed is False and self.action == "exclude"

    def as_dict(self) -> CheckJson:
        """Return the check as selection.json holds it."""
        content: CheckJson = {"value": self.value, "limit": self.limit, "passed": self.passed}
        return {**content, "note": self.note} if self.note else content


def describe_failed_check(name: str, value: float | None, limit: float) -> str:
    """Say that a guardrail failed.

    Args:
        name: Name of the guardrail.
        value: The candidate's number; None where it is not finite.
        limit: What the number must not exceed.

    Returns:
        Part of a sentence.
    """
    return f"{name} is {'no number' if value is None else f'{value:.3g}'}, over its limit {limit:g}"


def check_outcomes(
    outcomes: Outcomes, objective: str, groups: Groups, settings: GuardrailSettings
) -> dict[str, Check]:
    """Check every guardrail that needs held-out pairs alone; those on answers stay unknown.

    Args:
        outcomes: Outcomes of every pair of the select split.
        objective: Name of the accuracy that the sweep maximizes.
        groups: Prompt group of each pair, in the order of the pairs' ids.
        settings: Limits and actions.

    Returns:
        A check for each guardrail, by its name.
    """
    health = drift_and_displacement(outcomes)
    measured = {
        "drift_chosen": Measurement(health["distance_chosen"]),
        "drift_rejected": Measurement(health["distance_rejected"]),
        "displaced": Measurement(health["displaced"]),
        "length_bias": _length_bias(outcomes, objective, groups),
    }
    return check_guardrails(measured, settings)


def check_guardrails(
    measured: Mapping[str, Measurement], settings: GuardrailSettings
) -> dict[str, Check]:
    """Check every guardrail against the values known so far; NaN and infinity fail theirs."""
    return {
        name: _check(measured.get(name, Measurement(None)), guardrail.limit, guardrail.action)
        for name, guardrail in settings.named.items()
    }


def add_answer_checks(
    checks: Mapping[str, Check],
    answers: Sequence[AnswerJson],
    reference_answers: Sequence[AnswerJson],
    groups: Groups,
    settings: GuardrailSettings,
) -> dict[str, Check]:
    """Complete a candidate's checks with those on its generated answers.

    Args:
        checks: Checks from held-out pairs, by the guardrail's name.
        answers: The candidate's answer to each prompt.
        reference_answers: The reference's answers to the same prompts.
        groups: Prompt group of each prompt.
        settings: Limits and actions.

    Returns:
        A check for each guardrail.
    """
    lengths = compare_lengths(answers, reference_answers, groups)
    loops = compare_loops(answers, reference_answers, groups)
    more_loops = None if loops.untestable else loops.value
    measured = {
        "length_growth": Measurement(lengths.value, lengths.note, lengths.bound > 1),
        "loops": Measurement(more_loops, loops.untestable or loops.note, loops.bound > 0),
    }
    of_answers = check_guardrails(measured, settings)
    return {**checks, **{name: of_answers[name] for name in measured}}


def guardrail_violation(checks: Mapping[str, Check]) -> float:
    """Return how far the worst guardrail that excludes is over its limit, as a share of the limit.

    The number is in (0, 1], and 0 where no guardrail excludes the candidate.
    """
    over = [_excess(check) for check in checks.values() if check.excludes]
    return max(over, default=0.0)


def _excess(check: Check) -> float:
    if check.value is None:
        return 1.0
    return min(1.0, (check.value - check.limit) / (abs(check.limit) or 1.0))


def _check(measured: Measurement, limit: float, action: str) -> Check:
    value, note = measured.value, measured.note
    if value is None:
        return Check(None, limit, None, action, note)
    passed = value <= limit or not measured.is_sure
    return Check(value if math.isfinite(value) else None, limit, passed, action, note)


def _length_bias(outcomes: Outcomes, objective: str, groups: Groups) -> Measurement:
    """Measure how sure it is that the policy ranks by length.

    The value is the lower end of the 95 % interval of the share of wrong pairs, among pairs whose
    chosen answer is longer and among those whose chosen answer is shorter, whichever is higher. A
    policy that likes length, or brevity, is worse than a coin in one of them. By likelihood every
    model is, the untouched one too, since a sum of log-probs falls with every token; so under that
    objective rewards are counted, in which the untouched model's likelihoods cancel out.
    """
    if objective == LIKELIHOOD:
        objective = MARGIN
    order = np.argsort(np.array(outcomes.ids, dtype=str))
    gap = (outcomes.chosen_tokens - outcomes.rejected_tokens)[order]
    scores = pair_scores(outcomes, objective)
    values, notes = [], []
    for name, where in (("longer", gap > 0), ("shorter", gap < 0)):
        value, note = _errors_of_slice(scores[where], groups.where(where))
        values += [value] if value is not None else []
        notes += [f"untestable where the chosen answer is {name}: {note}"] if note else []
    return Measurement(max(values, default=None), "; ".join(notes))


def _errors_of_slice(scores: Floats, groups: Groups) -> tuple[float | None, str]:
    """Return the lower 95 % bound of the share of wrong pairs of a slice, or None and the reason.

    Args:
        scores: Score of each pair of the slice, (pairs,).
        groups: Their prompt groups.

    Returns:
        The bound, in [0, 1], and an empty string; or None, and why the slice is untestable.
    """
    pairs = len(scores)
    if pairs < LEAST_PAIRS:
        return None, f"{counted(pairs, 'pair')}, fewer than {LEAST_PAIRS}"
    if len(groups.sizes) < 2:
        return None, f"{pairs} pairs of one prompt"
    [[_, high]] = accuracy_intervals(scores[None], groups).tolist()
    return 1 - high, ""
