"""The DPO loss of a policy on held-out pairs, at the β that it was trained with. Pure; no torch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dpo_core.evaluation.outcomes import Floats, Outcomes
from dpo_core.hyperparams import DPOHyperparams
from dpo_core.scoring.preference_score import preference_score


class _Sums(NamedTuple):
    """One policy's columns of outcomes; the sums over the first tokens are not among them."""

    chosen: Floats
    rejected: Floats
    chosen_tokens: Floats
    rejected_tokens: Floats
    chosen_head: Floats
    rejected_head: Floats


def held_out_loss(outcomes: Outcomes, point: DPOHyperparams, beta: float) -> float | None:
    """Compute the mean of −log σ(score) over held-out pairs.

    Args:
        outcomes: Outcomes of every pair of a split.
        point: The hyperparameters that the policy was trained with.
        beta: β as it entered the loss.

    Returns:
        Nats; ln 2 for the untouched model, unless the loss has a target margin. None for `ld`,
        whose sums over the first tokens outcomes do not hold.
    """
    if point.length_norm == "ld":
        return None
    unknown = np.full(len(outcomes.ids), np.nan)
    lengths = outcomes.chosen_tokens.astype(np.float64), outcomes.rejected_tokens.astype(np.float64)
    columns = *lengths, unknown, unknown
    policy = _Sums(outcomes.chosen_logp, outcomes.rejected_logp, *columns)
    reference = _Sums(outcomes.ref_chosen_logp, outcomes.ref_rejected_logp, *columns)
    score = preference_score(policy, reference, point, beta)
    return float(np.logaddexp(0.0, -score).mean())
