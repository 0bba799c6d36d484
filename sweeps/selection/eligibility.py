"""Eligibility: whether a checkpoint moved the model enough for its accuracy to mean something. Pure.

DPO's implicit reward has no scale. A policy that changed no answer's log-prob by more than 0.002 nats
can rank most held-out pairs right, because the direction of a first gradient is right on easy pairs.
So a checkpoint may win only if it moved more than half of the pairs by more than a threshold, and a
verdict counts a pair only beyond that threshold.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from dpo_core.evaluation.outcomes import Floats, Outcomes

MARGIN = "reward_accuracy"
"""The objective whose margin is h = Δ_w − Δ_l, the nats by which the preferred answer's odds grew."""
MOVED, ACCURACY, GUARDRAILS = "moved", "accuracy", "guardrails"
"""Names of what a checkpoint may violate."""
VIOLATIONS_IN_WORDS = {
    MOVED: "moved too little",
    ACCURACY: "not above the untouched model",
    GUARDRAILS: "over a guardrail's limit",
}
_NOISE_FACTOR = 3.0


def violations_in_words(violations: Mapping[str, float]) -> list[str]:
    """Return in words what keeps a checkpoint from winning."""
    return [VIOLATIONS_IN_WORDS[name] for name, number in violations.items() if number > 0]


def margin_threshold(min_margin: float, margin_noise: float) -> float:
    """Return τ, the margin in nats beyond which a pair counts as moved.

    Args:
        min_margin: The setting `selection.min_margin`, in nats; 0 switches eligibility off.
        margin_noise: Root mean square of the numeric noise of a pair's margin, in nats.

    Returns:
        The setting, but no less than three times the noise; 0 where eligibility is off.
    """
    return max(min_margin, _NOISE_FACTOR * margin_noise) if min_margin else 0.0


def is_moved(outcomes: Outcomes, threshold: float) -> npt.NDArray[np.bool_]:
    """Return which pairs have |h| above `threshold` nats, (pairs,); a margin that is NaN has."""
    moved: npt.NDArray[np.bool_] = ~(np.abs(outcomes.margins(MARGIN)) <= threshold)
    return moved


def violations(outcomes: Outcomes, objective: str, threshold: float) -> dict[str, float]:
    """Return what keeps a checkpoint from being eligible.

    Args:
        outcomes: Outcomes of every pair of the select split.
        objective: Name of the accuracy that the sweep maximizes.
        threshold: τ in nats; with 0 every checkpoint is eligible.

    Returns:
        `moved`, the share of pairs that it lacks to have moved more than half of them, and
        `accuracy`, the share that it lacks to be more accurate than the untouched model. A number
        above 0 violates; nothing is returned where eligibility is off.
    """
    if not threshold:
        return {}
    pairs = len(outcomes.ids)
    moved = int(is_moved(outcomes, threshold).sum())
    net = int((outcomes.signs(objective) - outcomes.as_reference.signs(objective)).sum())
    return {MOVED: (pairs // 2 + 1 - moved) / pairs, ACCURACY: (1 - net) / pairs}


def moved_scores(outcomes: Outcomes, objective: str, threshold: float) -> Floats:
    """Return the score of each pair as a verdict counts it.

    Args:
        outcomes: Outcomes of every pair of a split.
        objective: Name of the accuracy that the sweep maximizes.
        threshold: τ in nats.

    Returns:
        Scores in the order of ids, (pairs,). A pair that the policy moved by no more than τ has the
        untouched model's score, which for rewards is ½; beyond it 1 is right and 0 is wrong.
    """
    order = np.argsort(np.array(outcomes.ids, dtype=str))
    own, reference = outcomes.signs(objective), outcomes.as_reference.signs(objective)
    signs = np.where(is_moved(outcomes, threshold), own, reference)
    scores: Floats = (signs[order] + 1.0) / 2
    return scores
