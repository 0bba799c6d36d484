"""The held-out loss is the training loss, on outcomes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dpo_core.evaluation.held_out_loss import held_out_loss
from dpo_core.evaluation.outcomes import Outcomes
from dpo_core.hyperparams import LENGTH_NORMS, DPOHyperparams
from dpo_core.scoring.logprobs import PairLogps
from dpo_core.scoring.preference_score import preference_score
from dpo_core.training.loss import dpo_losses

OUTCOMES = Outcomes(
    ("a", "b"),
    np.array([-8.0, -3.0]),
    np.array([-6.0, -9.0]),
    np.array([-10.0, -4.0]),
    np.array([-5.0, -7.0]),
    np.array([4, 3]),
    np.array([2, 5]),
)


def point(length_norm: str) -> DPOHyperparams:
    return DPOHyperparams(learning_rate=1e-6, beta=0.5, length_norm=length_norm, rdpo_alpha=0.01)


@pytest.mark.parametrize("length_norm", [n for n in LENGTH_NORMS if n != "ld"])
def test_it_is_the_training_loss(length_norm: str) -> None:
    def columns(chosen: np.ndarray, rejected: np.ndarray) -> PairLogps:
        sums = torch.from_numpy(chosen), torch.from_numpy(rejected)
        lengths = (
            torch.from_numpy(OUTCOMES.chosen_tokens),
            torch.from_numpy(OUTCOMES.rejected_tokens),
        )
        return PairLogps(*sums, *lengths, *sums)

    policy = columns(OUTCOMES.chosen_logp, OUTCOMES.rejected_logp)
    reference = columns(OUTCOMES.ref_chosen_logp, OUTCOMES.ref_rejected_logp)
    trained = dpo_losses(preference_score(policy, reference, point(length_norm), 2.0)).mean()
    assert held_out_loss(OUTCOMES, point(length_norm), 2.0) == pytest.approx(trained.item())


def test_by_hand() -> None:
    # Margins of 2 − (−1) = 3 and 1 − (−2) = 3 nats: −ln σ(0.5 · 3) = 0.201413.
    assert held_out_loss(OUTCOMES, point("none"), 0.5) == pytest.approx(0.201413, abs=1e-6)


def test_the_untouched_model_has_ln_2_and_a_wrong_margin_more() -> None:
    assert held_out_loss(OUTCOMES.as_reference, point("mean"), 5.0) == pytest.approx(math.log(2))
    swapped = Outcomes(
        OUTCOMES.ids,
        OUTCOMES.rejected_logp,
        OUTCOMES.chosen_logp,
        OUTCOMES.ref_rejected_logp,
        OUTCOMES.ref_chosen_logp,
        OUTCOMES.rejected_tokens,
        OUTCOMES.chosen_tokens,
    )
    assert held_out_loss(swapped, point("none"), 0.5) == pytest.approx(1.701413, abs=1e-6)


def test_a_huge_margin_does_not_overflow() -> None:
    columns = [np.array([nats]) for nats in (-1e6, 0.0, 0.0, 0.0)]
    far = Outcomes(("a",), *columns, np.array([9]), np.array([9]))
    assert held_out_loss(far, point("none"), 0.5) == pytest.approx(5e5)


def test_ld_needs_sums_that_outcomes_do_not_hold() -> None:
    assert held_out_loss(OUTCOMES, point("ld"), 0.5) is None
