"""Settings of the choice: objective, guardrails, confirmation, and the incumbent.

Tested in tests/unit/sweeps/config/test_load.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field, model_validator

from dpo_core.settings import Settings

Objective = Literal["reward_accuracy", "token_reward_accuracy", "likelihood_accuracy"]


class Guardrail(Settings):
    """A number of a candidate that must not exceed `limit`."""

    limit: float = Field(ge=0, allow_inf_nan=False)
    action: Literal["warn", "exclude"] = "exclude"
    """`exclude`: a candidate over the limit cannot win; `warn`: a warning says so."""


_EARLIER_NAMES = {"length_controlled_loss": "length_bias", "repetition": "loops"}
"""Guardrails of earlier versions, by what stands in their stead. Their limits mean something else."""


class GuardrailSettings(Settings):
    """The guardrails by name; a key that is left out of one keeps its default."""

    drift_chosen: Guardrail = Guardrail(limit=0.5)
    """How far chosen answers moved from the reference, up or down, in nats per token."""
    drift_rejected: Guardrail = Guardrail(limit=1.5)
    """The same for rejected answers, which DPO pushes down."""
    displaced: Guardrail = Guardrail(limit=0.5, action="warn")
    """Share of pairs whose margin grew while the chosen answer became less likely."""
    length_bias: Guardrail = Guardrail(limit=0.5)
    """Lower 95 % bound of the share of wrong pairs, where the chosen answer is longer or shorter."""
    length_growth: Guardrail = Guardrail(limit=1.3)
    """Length of generated answers over that of the reference's."""
    loops: Guardrail = Guardrail(limit=0.1)
    """Share of generated answers that end in a loop, above the reference's."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, settings: object) -> object:
        if not isinstance(settings, Mapping):
            return settings
        return {name: cls._with_defaults(name, value) for name, value in _renamed(settings)}

    @classmethod
    def _with_defaults(cls, name: str, value: object) -> object:
        field = cls.model_fields.get(name)
        if field is None or not isinstance(value, Mapping):
            return value
        return {**field.default.model_dump(), **value}

    @property
    def named(self) -> dict[str, Guardrail]:
        """The guardrails by name."""
        return {name: getattr(self, name) for name in type(self).model_fields}


def _renamed(guardrails: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield the settings of each guardrail; those with an earlier name keep their action alone."""
    for name, value in guardrails.items():
        if name not in _EARLIER_NAMES or not isinstance(value, Mapping):
            yield name, value
        elif _EARLIER_NAMES[name] not in guardrails:
            yield _EARLIER_NAMES[name], {key: value[key] for key in value if key != "limit"}


class ConfirmSettings(Settings):
    """Settings of the confirmation, which trains the best points again and chooses by their means."""

    top: int = Field(3, ge=0)
    """Number of points; 0: none."""
    seeds: int = Field(1, ge=0)
    """Number of new seeds for each point."""

    def trials(self, searched: int) -> int:
        """Return the number of trials, after a search of `searched` trials."""
        return min(self.top, searched) * self.seeds


class SelectionSettings(Settings):
    """Settings of the choice of the winner."""

    objective: Objective = "reward_accuracy"
    """The accuracy that chooses; the other two are always reported."""
    guardrails: GuardrailSettings = GuardrailSettings()
    min_margin: float = Field(0.1, ge=0, allow_inf_nan=False)
    """Nats by which the odds of a pair's preferred answer must move for the pair to count."""
    incumbent: str | None = Field(None, min_length=1)
    """The exported model or other sweep's folder that the winner is compared with."""
    final_openings: int | None = Field(None, ge=1)
    """For how many openings the final split is declared; None: 1, and 30 for nights."""
    sample_prompts: int = Field(64, ge=0)
    """Number of select prompts that candidates answer, for guardrails and report; 0: none."""
    sample_tokens: int = Field(512, ge=1)
    """Length in tokens at which an answer is cut; how long it would have become is then unknown."""
    keep_checkpoints: int = Field(3, ge=1)
    """Number of best checkpoints that stay on disk: when the answers of one exclude it, the next can
    win."""
    confirm: ConfirmSettings = ConfirmSettings(top=0)
    score_dtype: Literal["auto", "float32", "model"] = "auto"
    """The precision in which held-out pairs are scored: `model` is that of `model.dtype`; `auto` is
    float32 where that costs little."""
