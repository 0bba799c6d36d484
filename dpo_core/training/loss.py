"""DPO scores and losses. Pure: tensors in, tensors out, each line with its equation.

Notation: Δ = log π − log π_ref of an answer, in nats; |y| its length in tokens.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from dpo_core.hyperparams import DPOHyperparams
from dpo_core.scoring.logprobs import PairLogps


def preference_score(
    policy: PairLogps, reference: PairLogps, point: DPOHyperparams, beta: float
) -> Tensor:
    """Compute the argument of −log σ(·), the β-scaled margin under the point's length norm.

    Args:
        policy: Sums in nats and lengths in tokens under the policy, (pairs,) each.
        reference: The same under the reference.
        point: The length norm, and the constants of those that have some.
        beta: β as it enters the loss, `point.loss_beta(L̄)`.

    Returns:
        Scores without a unit, (pairs,), differentiable by the policy's sums.
    """
    if point.length_norm == "simpo":
        # arXiv:2405.14734, Eq. 6: no reference, a target margin γ = ratio · β.
        chosen = policy.chosen / policy.chosen_tokens
        rejected = policy.rejected / policy.rejected_tokens
        return beta * (chosen - rejected) - point.gamma_ratio * beta
    if point.length_norm == "ld":
        # arXiv:2409.06411, Eq. 8: tokens beyond the shared length count α.
        chosen_gain = _ld(policy.chosen, policy.chosen_head, point.ld_alpha) - _ld(
            reference.chosen, reference.chosen_head, point.ld_alpha
        )
        rejected_gain = _ld(policy.rejected, policy.rejected_head, point.ld_alpha) - _ld(
            reference.rejected, reference.rejected_head, point.ld_alpha
        )
        return beta * (chosen_gain - rejected_gain)
    chosen_gain = policy.chosen - reference.chosen  # Δ_w
    rejected_gain = policy.rejected - reference.rejected  # Δ_l
    if point.length_norm == "mean":
        # Tülu 3, arXiv:2411.15124, Eq. 6; TRL's `sigmoid_norm`.
        per_token = chosen_gain / policy.chosen_tokens - rejected_gain / policy.rejected_tokens
        return beta * per_token
    score = beta * (chosen_gain - rejected_gain)  # DPO, arXiv:2305.18290, Eq. 7
    if point.length_norm == "rdpo":
        # arXiv:2403.19159, Eq. 9: a margin for length.
        return score + point.rdpo_alpha * (policy.chosen_tokens - policy.rejected_tokens)
    return score


def dpo_losses(score: Tensor) -> Tensor:
    """Compute −log σ(score), (pairs,), nats; ln 2 where the policy is the reference."""
    return -F.logsigmoid(score)


def _ld(total: Tensor, head: Tensor, alpha: float) -> Tensor:
    """Weight the tokens beyond the shared length by α; `head` is the sum within it."""
    return head + alpha * (total - head)
