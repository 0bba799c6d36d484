"""Hyperparameters of one trial, checked and frozen; the module loads no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

from dpo_core.errors import SettingsError
from dpo_core.wording import Expected, describe_wrong_type

LENGTH_NORMS = ("none", "mean", "simpo", "rdpo", "ld")
PER_TOKEN_NORMS = ("mean", "simpo")


@dataclass(frozen=True)
class DPOHyperparams:
    """The hyperparameters that one point of the search space sets.

    `beta` is in units of the summed reward for every length normalization: a per-token loss
    multiplies it by the mean response length, because its gradient scales as β/|y|. So one axis
    serves both. `beta_per_token` is the literal β of a per-token loss, as published (Tülu 3: 5).
    """

    learning_rate: float
    length_norm: str = "none"
    beta: float | None = None
    beta_per_token: float | None = None
    gamma_ratio: float = 0.5  # SimPO's γ/β
    rdpo_alpha: float = 0.005  # R-DPO's α, score per token of length difference
    ld_alpha: float = 0.5  # LD-DPO's weight of the tokens beyond the shared length
    lora_rank: int | None = None  # None: the rank of the model settings

    @classmethod
    def from_point(cls, point: Mapping[str, object]) -> DPOHyperparams:
        """Check a sampled point and return it. Raises SettingsError on an unknown or missing name."""
        unknown = sorted(set(point) - set(HYPERPARAM_NAMES))
        if unknown:
            raise SettingsError(
                f"{unknown[0]}: is not a DPO hyperparameter; use one of {', '.join(HYPERPARAM_NAMES)}"
            )
        if "learning_rate" not in point:
            raise SettingsError("learning_rate: missing; every point needs one")
        return cls(**cast("dict[str, Any]", point))  # __post_init__ checks the values

    def __post_init__(self) -> None:
        _positive("learning_rate", self.learning_rate)
        if self.length_norm not in LENGTH_NORMS:
            raise SettingsError(
                f"length_norm: {self.length_norm!r} is unknown; use one of {', '.join(LENGTH_NORMS)}"
            )
        self._check_beta()
        _check_number("ld_alpha", self.ld_alpha)
        _finite("gamma_ratio", self.gamma_ratio)
        _finite("rdpo_alpha", self.rdpo_alpha)
        if not 0.0 <= self.ld_alpha <= 1.0:
            raise SettingsError(f"ld_alpha: {self.ld_alpha} must lie in [0, 1]")
        if self.lora_rank is not None:
            _check_number("lora_rank", self.lora_rank, "a whole number")
            if self.lora_rank < 1 or int(self.lora_rank) != self.lora_rank:
                raise SettingsError(f"lora_rank: {self.lora_rank} must be a whole number above 0")
            object.__setattr__(self, "lora_rank", int(self.lora_rank))  # PEFT takes no 8.0

    def _check_beta(self) -> None:
        if (self.beta is None) == (self.beta_per_token is None):
            raise SettingsError(
                "beta: a point needs either beta (summed units) or beta_per_token, and not both"
            )
        if self.beta is not None:
            _positive("beta", self.beta)
            return
        if self.length_norm not in PER_TOKEN_NORMS:
            raise SettingsError(
                f"beta_per_token: has no meaning with length_norm={self.length_norm}; "
                f"use beta, or a length_norm of {' or '.join(PER_TOKEN_NORMS)}"
            )
        _positive("beta_per_token", self.beta_per_token)

    def loss_beta(self, mean_response_tokens: float) -> float:
        """Return β as it enters the loss.

        For a per-token loss β_mean = β_sum · L̄, with L̄ the mean number of tokens of an answer over
        both answers of the train split (`mean_response_tokens`). Published pairs of values agree:
        5 per token at about 500 tokens corresponds to 0.01 summed.
        """
        if self.beta_per_token is not None:
            return self.beta_per_token
        assert self.beta is not None
        return (
            self.beta * mean_response_tokens if self.length_norm in PER_TOKEN_NORMS else self.beta
        )


HYPERPARAM_NAMES = tuple(f.name for f in fields(DPOHyperparams))


def _check_number(name: str, value: object, expected: Expected = "a number") -> float:
    """Return a number, which space files and earlier trials may have as text. Raises SettingsError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SettingsError(f"{name}: {describe_wrong_type(value, expected)}")
    return value


def _finite(name: str, value: object) -> None:
    if not math.isfinite(_check_number(name, value)):
        raise SettingsError(f"{name}: {value} must be a finite number")


def _positive(name: str, value: object) -> None:
    number = _check_number(name, value)
    if not math.isfinite(number) or number <= 0:
        raise SettingsError(f"{name}: {value} must be a finite number above 0")
