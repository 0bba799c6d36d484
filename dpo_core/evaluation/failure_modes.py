"""DPO's known failures as numbers, from per-pair columns and from generated answers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dpo_core.evaluation.outcomes import Floats, Ints, Outcomes

_NGRAM, _LAST, _REPEATED = 4, 24, 0.8
SHORTEST_LOOP = _LAST + _NGRAM - 1
"""Tokens below which no answer is said to loop: 27."""


def drift_and_displacement(outcomes: Outcomes) -> dict[str, Any]:
    """Measure how far the policy moved from the reference on held-out pairs.

    Drift is Σ(log π − log π_ref) / Σ tokens over the pairs, chosen and rejected answers apart. It is
    not KL(π‖π_ref), which needs samples from the policy. In a drift, answers that rose and answers
    that fell cancel out; the distance is Σ|log π − log π_ref| / Σ tokens, where they do not.
    Displacement (arXiv:2410.08847) is the share of pairs whose margin grew while the chosen answer
    itself became less likely.

    Returns `drift_chosen`, `drift_rejected`, `distance_chosen` and `distance_rejected` in nats per
    token, `displaced` as a share in [0, 1], and `mean_margin` in nats.
    """
    chosen, rejected = outcomes.chosen_gain, outcomes.rejected_gain
    grown = outcomes.margins("reward_accuracy") > outcomes.tie_nats
    fallen = chosen < -outcomes.tie_nats
    return {
        "drift_chosen": _per_token(chosen, outcomes.chosen_tokens),
        "drift_rejected": _per_token(rejected, outcomes.rejected_tokens),
        "distance_chosen": _per_token(np.abs(chosen), outcomes.chosen_tokens),
        "distance_rejected": _per_token(np.abs(rejected), outcomes.rejected_tokens),
        "displaced": float((grown & fallen).mean()),
        "mean_margin": float(outcomes.margins("reward_accuracy").mean()),
    }


def largest_drift(health: Mapping[str, float]) -> float:
    """Return how far chosen or rejected answers moved, whichever moved more, in nats per token.

    `health` is what `drift_and_displacement` returned; a record of an earlier version has no
    distances, and its signed drifts stand in for them.
    """
    sides = ("chosen", "rejected")
    moved = [abs(health.get(f"distance_{s}", health.get(f"drift_{s}", 0.0))) for s in sides]
    return float(np.max(moved))  # NaN if either is


def loops(tokens: Sequence[int]) -> bool:
    """Return whether an answer ends in a loop, or says nothing at all.

    It loops when four fifths of its last 24 4-grams stood in it before. A loop that the model left in
    time, and a phrase that comes twice, are none.
    """
    if not tokens:
        return True
    starts = range(len(tokens) - _NGRAM + 1)
    ngrams = [tuple(tokens[start : start + _NGRAM]) for start in starts]
    first = {ngram: start for start, ngram in reversed(list(enumerate(ngrams)))}
    repeated = [first[ngram] < start for start, ngram in enumerate(ngrams)][-_LAST:]
    return len(repeated) == _LAST and sum(repeated) >= _REPEATED * _LAST


def _per_token(nats: Floats, tokens: Ints) -> float:
    return float(nats.sum() / max(1, tokens.sum()))
