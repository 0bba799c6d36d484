"""Guardrails: limits on numbers of a candidate that keep it from winning, whatever its accuracy.

Pure functions. The limits and their actions are those of `GuardrailSettings`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dpo_core.evaluation.failure_modes import drift_and_displacement, length_and_repetition
from dpo_core.evaluation.outcomes import Outcomes, length_slices
from sweeps.config.selection import GuardrailSettings
from sweeps.run_dir.json_types import CheckJson


@dataclass(frozen=True)
class Check:
    """One guardrail applied to one candidate; `passed` is None while the value is unknown."""

    value: float | None
    """None while it is unknown, and where it is not finite."""
    limit: float
    passed: bool | None
    action: str
    """`exclude` or `warn`."""

    @property
    def excludes(self) -> bool:
        """Return whether the candidate cannot win because of this guardrail."""
        return self.passed is False and self.action == "exclude"

    def as_dict(self) -> CheckJson:
        """Return the check as selection.json holds it."""
        return {"value": self.value, "limit": self.limit, "passed": self.passed}


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


def offline_values(outcomes: Outcomes, objective: str) -> dict[str, float]:
    """Return the guardrails' numbers that need held-out pairs alone and no generated answer.

    Drifts are absolute, in nats per token; `displaced` is a share of pairs in [0, 1];
    `length_controlled_loss` is the reference's length-controlled accuracy minus the policy's.
    """
    health = drift_and_displacement(outcomes)
    reference, policy = (
        length_slices(each, objective)["length_controlled"]
        for each in (outcomes.as_reference, outcomes)
    )
    return {
        "drift_chosen": abs(health["drift_chosen"]),
        "drift_rejected": abs(health["drift_rejected"]),
        "displaced": health["displaced"],
        "length_controlled_loss": reference - policy,
    }


def check_guardrails(values: Mapping[str, float], settings: GuardrailSettings) -> dict[str, Check]:
    """Check every guardrail against the values known so far; NaN and infinity fail theirs."""
    return {
        name: _check(values.get(name), guardrail.limit, guardrail.action)
        for name, guardrail in settings.named.items()
    }


def add_answer_checks(
    checks: Mapping[str, Check],
    answers: Sequence[Sequence[int]],
    reference_answers: Sequence[Sequence[int]],
    settings: GuardrailSettings,
) -> dict[str, Check]:
    """Complete a candidate's checks with those on its generated answers.

    Args:
        checks: Checks from held-out pairs, by the guardrail's name.
        answers: Tokens of the candidate's answer to each prompt.
        reference_answers: Tokens of the reference's answers to the same prompts.
        settings: Limits and actions.

    Returns:
        A check for each guardrail.
    """
    of_answers = check_guardrails(length_and_repetition(answers, reference_answers), settings)
    return {
        name: of_answers[name] if of_answers[name].passed is not None else check
        for name, check in checks.items()
    }


def _check(value: float | None, limit: float, action: str) -> Check:
    if value is None:
        return Check(None, limit, None, action)
    return Check(value if math.isfinite(value) else None, limit, value <= limit, action)
