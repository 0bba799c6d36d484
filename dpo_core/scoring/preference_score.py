"""The argument of DPO's −log σ(·), each line with its equation. Pure; for tensors and NumPy arrays.

Notation: Δ = log π − log π_ref of an answer, in nats; |y| its length in tokens.

Tested in tests/unit/dpo_core/training/test_loss.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from dpo_core.hyperparams import DPOHyperparams

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    ArrayT = TypeVar("ArrayT", Tensor, npt.NDArray[np.float64])
    ArrayT_co = TypeVar("ArrayT_co", Tensor, npt.NDArray[np.float64], covariant=True)
else:
    ArrayT = TypeVar("ArrayT")
    ArrayT_co = TypeVar("ArrayT_co", covariant=True)


class AnswerSums(Protocol[ArrayT_co]):
    """Log-prob sums of both answers in nats and their lengths in tokens, (pairs,) each.

    The heads are sums over the first min(|y_w|, |y_l|) tokens; `ld` alone reads them.
    """

    @property
    def chosen(self) -> ArrayT_co:
        """Return log π(y_w)."""

    @property
    def rejected(self) -> ArrayT_co:
        """Return log π(y_l)."""

    @property
    def chosen_tokens(self) -> ArrayT_co:
        """Return |y_w|."""

    @property
    def rejected_tokens(self) -> ArrayT_co:
        """Return |y_l|."""

    @property
    def chosen_head(self) -> ArrayT_co:
        """Return the sum over the chosen answer's first tokens."""

    @property
    def rejected_head(self) -> ArrayT_co:
        """Return the sum over the rejected answer's first tokens."""


def preference_score(
    policy: AnswerSums[ArrayT],
    reference: AnswerSums[ArrayT],
    point: DPOHyperparams,
    beta: float,
) -> ArrayT:
    """Compute the β-scaled margin under the point's length norm.

    Args:
        policy: Sums and lengths under the policy.
        reference: The same under the reference.
        point: The length norm, and the constants of those that have some.
        beta: β as it enters the loss, `point.loss_beta(L̄)`.

    Returns:
        Scores without a unit, (pairs,); of tensors differentiable by the policy's sums.
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


def _ld(total: ArrayT, head: ArrayT, alpha: float) -> ArrayT:
    """Weight the tokens beyond the shared length by α; `head` is the sum within it."""
    return head + alpha * (total - head)
