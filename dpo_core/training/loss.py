"""The DPO loss of a pair from its score; see `scoring.preference_score` for the score."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def dpo_losses(score: Tensor) -> Tensor:
    """Compute −log σ(score), (pairs,), nats; ln 2 where the policy is the reference."""
    return -F.logsigmoid(score)
