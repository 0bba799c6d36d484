"""DPO's known failures as numbers, from per-pair columns and from generated answers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dpo_core.evaluation.outcomes import Outcomes

NGRAM = 3


def drift_and_displacement(outcomes: Outcomes) -> dict[str, Any]:
    """Measure how far the policy moved from the reference on held-out pairs.

    Drift is mean (log π − log π_ref) per held-out token, chosen and rejected apart. It is not
    KL(π‖π_ref), which needs samples from the policy. Displacement (arXiv:2410.08847) is the share
    of pairs whose margin grew while the chosen answer itself became less likely.

    Returns `drift_chosen` and `drift_rejected` in nats per token, `displaced` as a share in [0, 1],
    and `mean_margin` in nats.
    """
    grown = outcomes.margins("reward_accuracy") > outcomes.tie_nats
    fallen = outcomes.chosen_gain < -outcomes.tie_nats
    return {
        "drift_chosen": _per_token(outcomes.chosen_gain.sum(), outcomes.chosen_tokens.sum()),
        "drift_rejected": _per_token(outcomes.rejected_gain.sum(), outcomes.rejected_tokens.sum()),
        "displaced": float((grown & fallen).mean()),
        "mean_margin": float(outcomes.margins("reward_accuracy").mean()),
    }


def largest_drift(drift: Mapping[str, float]) -> float:
    """Return the larger drift of chosen and rejected answers without its sign, nats per token.

    `drift` is what `drift_and_displacement` returned.
    """
    return float(max(abs(drift["drift_chosen"]), abs(drift["drift_rejected"])))


def repeated_ngrams(tokens: Sequence[int], n: int = NGRAM) -> float:
    """Return the share of an answer's n-grams that repeat earlier ones, in [0, 1); 0 for none."""
    ngrams = [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def length_and_repetition(
    policy_answers: Sequence[Sequence[int]], reference_answers: Sequence[Sequence[int]]
) -> dict[str, float]:
    """Compare the tokens of a policy's answers with the reference's to the same prompts.

    Returns `length_growth`, how many times as long they are on average, and `repetition`, by how
    much the mean share of repeated n-grams is larger.
    """
    policy_tokens, reference_tokens = (
        _mean([len(tokens) for tokens in answers])
        for answers in (policy_answers, reference_answers)
    )
    policy_repeats, reference_repeats = (
        _mean([repeated_ngrams(tokens) for tokens in answers])
        for answers in (policy_answers, reference_answers)
    )
    return {
        "length_growth": policy_tokens / max(1.0, reference_tokens),
        "repetition": policy_repeats - reference_repeats,
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _per_token(nats: float, tokens: int) -> float:
    return float(nats / max(1, tokens))
