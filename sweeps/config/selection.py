"""How the winner is chosen: objective, guardrails, what it is compared with. No torch, no ray."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from dpo_core.settings import Settings

Objective = Literal["reward_accuracy", "token_reward_accuracy", "likelihood_accuracy"]


class Guardrail(Settings):
    """A number of a candidate that must not exceed `limit`."""

    limit: float = Field(allow_inf_nan=False)
    action: Literal["warn", "exclude"] = "exclude"
    """`exclude`: what breaks it cannot win; `warn`: it is told."""


class GuardrailSettings(Settings):
    """The named guardrails; whatever is not given of one keeps its default."""

    drift_chosen: Guardrail = Guardrail(limit=1.0)
    """How far chosen answers moved from the reference, up or down, in nats per token."""
    drift_rejected: Guardrail = Guardrail(limit=2.0)
    """The same for rejected answers, which DPO pushes down."""
    displaced: Guardrail = Guardrail(limit=0.5, action="warn")
    """Share of pairs whose margin grew while the chosen answer became less likely."""
    length_controlled_loss: Guardrail = Guardrail(limit=0.0)
    """Length-controlled accuracy of the reference minus the candidate's."""
    length_growth: Guardrail = Guardrail(limit=1.5)
    """Length of generated answers over that of the reference's."""
    repetition: Guardrail = Guardrail(limit=0.2)
    """Share of repeated 3-grams in generated answers, above the reference's."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {name: cls._filled(name, value) for name, value in given.items()}

    @classmethod
    def _filled(cls, name: str, value: Any) -> Any:
        field = cls.model_fields.get(name)
        if field is None or not isinstance(value, Mapping):
            return value
        return {**field.default.model_dump(), **value}

    @property
    def named(self) -> dict[str, Guardrail]:
        return {name: getattr(self, name) for name in type(self).model_fields}


class ConfirmSettings(Settings):
    """The best points of the search are trained again with new seeds and chosen by their means."""

    top: int = Field(3, ge=0)
    """How many points; 0: none."""
    seeds: int = Field(3, ge=0)
    """How many new seeds each."""

    def trials(self, searched: int) -> int:
        """How many trials that is after a search of so many."""
        return min(self.top, searched) * self.seeds


class SelectionSettings(Settings):
    """Which number picks the winner, and what may not win whatever its number."""

    objective: Objective = "reward_accuracy"
    """The other two accuracies are always reported."""
    guardrails: GuardrailSettings = GuardrailSettings()
    incumbent: str | None = Field(None, min_length=1)
    """An exported model's directory or another sweep's folder: the verdict is against it."""
    sample_prompts: int = Field(8, ge=0)
    """So many prompts of the select split are answered for the guardrails and the report; 0: none."""
    sample_tokens: int = Field(128, ge=1)
    """An answer ends there at the latest, and counts as so long."""
    keep_checkpoints: int = Field(3, ge=1)
    """At least so many of the best stay on disk: when the answers of one rule it out, the next can
    win."""
    confirm: ConfirmSettings = ConfirmSettings(top=0)
