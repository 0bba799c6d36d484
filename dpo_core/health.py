"""DPO's known failures as numbers, from the same per-pair columns as accuracy. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dpo_core.evaluation import Outcomes


def health(outcomes: Outcomes) -> dict[str, Any]:
    """Offline drift and displacement of one evaluation, in nats per token and as shares.

    Drift is mean (log π − log π_ref) per held-out token, chosen and rejected apart. It is not
    KL(π‖π_ref), which needs samples from the policy. Displacement (arXiv:2410.08847) is the share
    of pairs whose margin grew while the chosen answer itself became less likely.
    """
    grown = outcomes.margins("reward_accuracy") > outcomes.tie_nats
    fallen = outcomes.chosen_gain < -outcomes.tie_nats
    return {
        "drift_chosen": _per_token(outcomes.chosen_gain.sum(), outcomes.chosen_tokens.sum()),
        "drift_rejected": _per_token(outcomes.rejected_gain.sum(), outcomes.rejected_tokens.sum()),
        "displaced": float((grown & fallen).mean()),
        "mean_margin": float(outcomes.margins("reward_accuracy").mean()),
    }


def largest_drift(told: Mapping[str, Any]) -> float:
    """Of chosen or rejected answers, whichever moved more, up or down: nats per token, from 0."""
    return float(max(abs(told["drift_chosen"]), abs(told["drift_rejected"])))


def _per_token(nats: float, tokens: int) -> float:
    return float(nats / max(1, tokens))
