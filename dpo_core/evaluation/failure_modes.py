"""DPO's known failures as numbers, from per-pair columns and from generated answers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dpo_core.evaluation.outcomes import Outcomes

NGRAM = 3


def drift_and_displacement(outcomes: Outcomes) -> dict[str, Any]:
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


def repeated_ngrams(tokens: Sequence[int], n: int = NGRAM) -> float:
    """Share of an answer's n-grams that stood in it before, in [0, 1): 0 when all are distinct."""
    found = [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]
    return 1 - len(set(found)) / len(found) if found else 0.0


def length_and_repetition(
    answers: Sequence[Sequence[int]], of_reference: Sequence[Sequence[int]]
) -> dict[str, float]:
    """Tokens of a policy's answers against the reference's to the same prompts: how many times as
    long they are on average, and by how much the mean share of repeated n-grams is larger."""
    longer = _mean([len(tokens) for tokens in answers])
    repeated = (_mean([repeated_ngrams(t) for t in texts]) for texts in (answers, of_reference))
    return {
        "length_growth": longer / max(1.0, _mean([len(tokens) for tokens in of_reference])),
        "repetition": next(repeated) - next(repeated),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _per_token(nats: float, tokens: int) -> float:
    return float(nats / max(1, tokens))
