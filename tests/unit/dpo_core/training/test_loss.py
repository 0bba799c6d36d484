"""Losses against numbers worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from dpo_core.hyperparams import LENGTH_NORMS, DPOHyperparams
from dpo_core.scoring.logprobs import PairLogps
from dpo_core.scoring.preference_score import preference_score
from dpo_core.training.loss import dpo_losses

# One pair: the chosen answer has 4 tokens, the rejected one 2, so the shared length is 2.
#                      chosen  rejected   chosen's first 2   rejected's first 2
POLICY = PairLogps(*(torch.tensor([x]) for x in (-8.0, -6.0, 4, 2, -5.0, -6.0)))
REFERENCE = PairLogps(*(torch.tensor([x]) for x in (-10.0, -5.0, 4, 2, -6.5, -5.0)))
BETA = 0.5
# Δ_w = −8 − (−10) = 2 and Δ_l = −6 − (−5) = −1.
BY_HAND = {
    "none": 1.5,  # 0.5 · (2 − (−1))
    "mean": 0.5,  # 0.5 · (2/4 − (−1)/2) = 0.5 · (0.5 + 0.5)
    # −8/4 − (−6/2) = 1, then 0.5 · 1 − γ with γ = 0.6 · 0.5 = 0.3
    "simpo": 0.2,
    "rdpo": 1.52,  # 1.5 + 0.01 · (4 − 2)
    # log π: −5 + 0.25 · (−8 + 5) = −5.75 and −6; reference: −6.5 + 0.25 · (−10 + 6.5) = −7.375, −5.
    # Δ_w = 1.625, Δ_l = −1, so 0.5 · 2.625
    "ld": 1.3125,
}


def point(length_norm: str) -> DPOHyperparams:
    return DPOHyperparams(
        learning_rate=1e-6,
        beta=BETA,
        length_norm=length_norm,
        gamma_ratio=0.6,
        rdpo_alpha=0.01,
        ld_alpha=0.25,
    )


def swapped(logps: PairLogps) -> PairLogps:
    return PairLogps(
        logps.rejected,
        logps.chosen,
        logps.rejected_tokens,
        logps.chosen_tokens,
        logps.rejected_head,
        logps.chosen_head,
    )


def test_every_normalization_is_worked_out_by_hand() -> None:
    assert set(BY_HAND) == set(LENGTH_NORMS)


@pytest.mark.parametrize("length_norm", LENGTH_NORMS)
def test_score(length_norm: str) -> None:
    score = preference_score(POLICY, REFERENCE, point(length_norm), BETA)
    assert score.tolist() == pytest.approx([BY_HAND[length_norm]], abs=1e-6)


def test_loss_is_minus_log_sigmoid() -> None:
    # σ(1.5) = 1 / (1 + e^−1.5) = 1 / 1.22313 = 0.817574, −ln 0.817574 = 0.201413
    # σ(−1.5) = 1 − 0.817574 = 0.182426, −ln 0.182426 = 1.701413
    losses = dpo_losses(torch.tensor([1.5, -1.5]))
    assert losses.tolist() == pytest.approx([0.201413, 1.701413], abs=1e-6)


def test_a_margin_is_how_far_a_score_must_exceed_0() -> None:
    # 1.5 − 1.5 = 0 loses ln 2; −1.5 − (−3) = 1.5 loses as above
    losses = dpo_losses(torch.tensor([1.5, -1.5]), torch.tensor([1.5, -3.0]))
    assert losses.tolist() == pytest.approx([math.log(2), 0.201413], abs=1e-6)


def test_loss_stays_finite_where_the_sigmoid_rounds_to_zero() -> None:
    assert dpo_losses(torch.tensor([-1000.0, 1000.0])).tolist() == [1000.0, 0.0]


@pytest.mark.parametrize("beta", [1e-3, 0.1, 5.0, 500.0])
@pytest.mark.parametrize("length_norm", ["none", "mean", "ld"])
def test_policy_equal_to_reference_loses_ln_2_at_any_beta(length_norm: str, beta: float) -> None:
    loss = dpo_losses(preference_score(REFERENCE, REFERENCE, point(length_norm), beta))
    assert loss.item() == pytest.approx(math.log(2), abs=1e-7)


@pytest.mark.parametrize("length_norm", ["none", "mean", "ld"])
def test_swapping_chosen_and_rejected_negates_the_score(length_norm: str) -> None:
    there = preference_score(POLICY, REFERENCE, point(length_norm), BETA)
    back = preference_score(swapped(POLICY), swapped(REFERENCE), point(length_norm), BETA)
    assert there.item() != 0
    assert back.item() == -there.item()


def test_simpo_scales_the_difference_per_token_by_beta() -> None:
    # −6/4 − (−6/2) = 1.5, then 0.5 · 1.5 − 0.3
    longer = replace(POLICY, chosen=torch.tensor([-6.0]))
    assert preference_score(longer, REFERENCE, point("simpo"), BETA).item() == pytest.approx(0.45)


def test_simpo_does_not_look_at_the_reference() -> None:
    other = replace(REFERENCE, chosen=torch.tensor([-1.0]), rejected=torch.tensor([-99.0]))
    assert preference_score(POLICY, other, point("simpo"), BETA).item() == pytest.approx(0.2)


@pytest.mark.parametrize(("alpha", "like"), [(1.0, 1.5), (0.0, 1.25)])
def test_ld_ends_are_the_full_sum_and_the_shared_length(alpha: float, like: float) -> None:
    # α = 1 is plain DPO: 1.5. α = 0 drops the tail: 0.5 · ((−5 + 6.5) − (−6 + 5)) = 0.5 · 2.5
    ends = replace(point("ld"), ld_alpha=alpha)
    assert preference_score(POLICY, REFERENCE, ends, BETA).item() == pytest.approx(like)


def test_pairs_do_not_mix() -> None:
    policy, reference = (
        PairLogps(
            *(torch.cat([a, b]) for a, b in zip(vars(x).values(), vars(y).values(), strict=True))
        )
        for x, y in ((POLICY, swapped(POLICY)), (REFERENCE, swapped(REFERENCE)))
    )
    both = preference_score(policy, reference, point("none"), BETA)
    assert both.tolist() == pytest.approx([1.5, -1.5])
