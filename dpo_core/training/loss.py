"""The DPO loss of a pair from its score; see `scoring.preference_score` for the score."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def dpo_losses(score: Tensor, margins: Tensor | float = 0.0) -> Tensor:
    """Compute −log σ(score − margin).

    Args:
        score: From `preference_score`, (pairs,), without a unit.
        margins: By how much each score must exceed 0 for a loss of ln 2, (pairs,): the offset of
            ODPO (arXiv:2402.10571).

    Returns:
        Losses in nats, (pairs,); ln 2 where the policy is the reference and the margin is 0.
    """
    return -F.logsigmoid(score - margins)
