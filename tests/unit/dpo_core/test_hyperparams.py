"""One point: its rules, its messages and the arithmetic of β."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from dpo_core.errors import SettingsError
from dpo_core.hyperparams import HYPERPARAM_NAMES, LENGTH_NORMS, DPOHyperparams


def point(**changes: Any) -> DPOHyperparams:
    return DPOHyperparams.from_point({"learning_rate": 1e-6, "beta": 0.1, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate: 0.0 must be a finite number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate: nan must be a finite number above 0"),
        ({"beta": -0.1}, "beta: -0.1 must be a finite number above 0"),
        ({"beta": float("inf")}, "beta: inf must be a finite number above 0"),
        (
            {"beta": None},
            "beta: a point needs either beta (summed units) or beta_per_token, and not both",
        ),
        (
            {"beta_per_token": 5.0, "length_norm": "mean"},
            "beta: a point needs either beta (summed units) or beta_per_token, and not both",
        ),
        (
            {"beta": None, "beta_per_token": 5.0},
            "beta_per_token: has no meaning with length_norm=none; "
            "use beta, or a length_norm of mean or simpo",
        ),
        (
            {"beta": None, "beta_per_token": 0.0, "length_norm": "mean"},
            "beta_per_token: 0.0 must be a finite number above 0",
        ),
        (
            {"length_norm": "sum"},
            "length_norm: 'sum' is unknown; use one of none, mean, simpo, rdpo, ld",
        ),
        ({"ld_alpha": 1.5}, "ld_alpha: 1.5 must lie in [0, 1]"),
        ({"ld_alpha": float("nan")}, "ld_alpha: nan must lie in [0, 1]"),
        ({"gamma_ratio": float("nan")}, "gamma_ratio: nan must be a finite number"),
        ({"rdpo_alpha": float("inf")}, "rdpo_alpha: inf must be a finite number"),
        ({"lora_rank": 0}, "lora_rank: 0 must be a whole number above 0"),
        ({"lora_rank": 2.5}, "lora_rank: 2.5 must be a whole number above 0"),
        (
            {"lr": 1e-6},
            "lr: is not a DPO hyperparameter; use one of " + ", ".join(HYPERPARAM_NAMES),
        ),
    ],
)
def test_a_broken_rule_says_value_rule_and_way_out(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        point(**changes)
    assert str(error.value) == message


def test_a_point_needs_a_learning_rate() -> None:
    with pytest.raises(SettingsError, match="learning_rate: missing; every point needs one"):
        DPOHyperparams.from_point({"beta": 0.1})


def test_a_point_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        point().beta = 0.2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("length_norm", "factor"),
    [("none", 1), ("rdpo", 1), ("ld", 1), ("mean", 500), ("simpo", 500)],
)
def test_beta_is_in_summed_units_for_every_normalization(length_norm: str, factor: int) -> None:
    # Tülu 3's pair: a per-token β of 5 over about 500 tokens is 0.01 summed.
    assert point(beta=0.01, length_norm=length_norm).loss_beta(500.0) == pytest.approx(
        0.01 * factor
    )


def test_every_normalization_has_its_beta_tested() -> None:
    assert set(LENGTH_NORMS) == {"none", "rdpo", "ld", "mean", "simpo"}


@pytest.mark.parametrize("length_norm", ["mean", "simpo"])
def test_beta_per_token_is_literal(length_norm: str) -> None:
    literal = point(beta=None, beta_per_token=5.0, length_norm=length_norm)
    assert literal.loss_beta(500.0) == literal.loss_beta(3.0) == 5.0


@pytest.mark.parametrize(
    "given",
    [
        {"learning_rate": 1e-6, "beta": 0.1},
        {"learning_rate": 1e-6, "length_norm": "mean", "beta_per_token": 5.0, "lora_rank": 8},
        {"learning_rate": 1e-6, "length_norm": "ld", "beta": 0.1, "ld_alpha": 0.25},
    ],
)
def test_a_point_holds_what_was_sampled(given: dict[str, Any]) -> None:
    one = DPOHyperparams.from_point(given)
    assert vars(one) == {**vars(DPOHyperparams(learning_rate=1.0, beta=1.0)), "beta": None, **given}


def test_a_whole_rank_is_an_int_however_it_was_written() -> None:
    assert type(point(lora_rank=8.0).lora_rank) is int
