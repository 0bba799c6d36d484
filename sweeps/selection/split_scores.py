"""Scores of one policy on one split: pair by pair, and summarized as selection.json holds them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dpo_core.evaluation.failure_modes import drift_and_displacement
from dpo_core.evaluation.outcomes import Floats, Outcomes, label_slices, length_slices
from sweeps.run_dir.json_types import ScoresJson
from sweeps.selection.statistics import Groups, accuracy_intervals


def pair_scores(outcomes: Outcomes, objective: str) -> Floats:
    """Return the score of each pair in the order of ids: 1 right, ½ a tie, 0 wrong; (pairs,).

    The order is the same for every policy, so that scores can be subtracted.
    """
    order = np.argsort(np.array(outcomes.ids, dtype=str))
    scores: Floats = (outcomes.signs(objective)[order] + 1.0) / 2
    return scores


def split_scores(
    outcomes: Outcomes,
    objective: str,
    labels: Mapping[str, Mapping[str, str | None]] | None = None,
    groups: Groups | None = None,
) -> ScoresJson:
    """Summarize one split under one policy.

    Args:
        outcomes: Outcomes of every pair of the split.
        objective: Name of the accuracy that the sweep maximizes.
        labels: For each kind of label (`source`, `category`), the value of each pair by its id.
        groups: Group of each pair in the order of ids; without them each pair is its own.

    Returns:
        Counts and accuracy of the objective with its 95 % interval, all three accuracies,
        slices by length, source and category, and drift in nats per token.
    """
    count = outcomes.count(objective)
    scores = pair_scores(outcomes, objective)
    [interval] = accuracy_intervals(scores[None], groups or _alone(len(scores))).tolist()
    return {
        "objective": objective,
        "correct": count.correct,
        "ties": count.ties,
        "total": count.total,
        "accuracy": count.accuracy,
        "interval": interval,
        "reward_accuracy": outcomes.count("reward_accuracy").accuracy,
        "token_reward_accuracy": outcomes.count("token_reward_accuracy").accuracy,
        "likelihood_accuracy": outcomes.count("likelihood_accuracy").accuracy,
        "length": length_slices(outcomes, objective),
        "by": label_slices(outcomes, objective, labels or {}),
        "health": drift_and_displacement(outcomes),
    }


def reference_scores(
    outcomes: Outcomes, objective: str, groups: Groups | None = None
) -> ScoresJson:
    """Summarize one split under the untouched model; by rewards its accuracy is a constant ½.

    Args:
        outcomes: Outcomes of any policy on every pair of the split.
        objective: Name of the accuracy that the sweep maximizes.
        groups: Group of each pair in the order of ids; without them each pair is its own.

    Returns:
        What `split_scores` returns, without an interval where all pairs tie.
    """
    scores = split_scores(outcomes.as_reference, objective, groups=groups)
    return {**scores, "interval": None} if scores["ties"] == scores["total"] else scores


def _alone(pairs: int) -> Groups:
    return Groups(np.arange(pairs, dtype=np.int64))
