"""What may not win whatever its accuracy: named numbers of a candidate, each with its limit. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpo_core.evaluation.failure_modes import drift_and_displacement, length_and_repetition
from dpo_core.evaluation.outcomes import Outcomes, length_slices
from sweeps.config.selection import GuardrailSettings


@dataclass(frozen=True)
class Check:
    """One guardrail of one candidate; `passed` is None as long as the number is not known."""

    value: float | None
    limit: float
    passed: bool | None
    action: str

    @property
    def excludes(self) -> bool:
        return self.passed is False and self.action == "exclude"

    def as_dict(self) -> dict[str, Any]:
        return {"value": self.value, "limit": self.limit, "passed": self.passed}


def broken(name: str, value: float | None, limit: float) -> str:
    """For a reader."""
    return f"{name} is {'no number' if value is None else f'{value:.3g}'}, over its limit {limit:g}"


def offline_values(outcomes: Outcomes, objective: str) -> dict[str, float]:
    """The guardrails' numbers that held-out pairs tell, without any generated answer."""
    told = drift_and_displacement(outcomes)
    reference, policy = (
        length_slices(o, objective)["length_controlled"] for o in (outcomes.as_reference, outcomes)
    )
    return {
        "drift_chosen": abs(told["drift_chosen"]),
        "drift_rejected": abs(told["drift_rejected"]),
        "displaced": told["displaced"],
        "length_controlled_loss": reference - policy,
    }


def with_answers(
    checked: Mapping[str, Check],
    tokens: Sequence[Sequence[int]],
    of_reference: Sequence[Sequence[int]],
    settings: GuardrailSettings,
) -> dict[str, Check]:
    """The same checks, those on generated answers among them."""
    known = checks(length_and_repetition(tokens, of_reference), settings)
    return {n: known[n] if known[n].passed is not None else check for n, check in checked.items()}


def checks(values: Mapping[str, float], settings: GuardrailSettings) -> dict[str, Check]:
    """Every guardrail, held against what is known. A value that is no number breaks its limit."""
    return {
        name: _check(values.get(name), rail.limit, rail.action)
        for name, rail in settings.named.items()
    }


def _check(value: float | None, limit: float, action: str) -> Check:
    if value is None:
        return Check(None, limit, None, action)
    return Check(value if math.isfinite(value) else None, limit, value <= limit, action)
