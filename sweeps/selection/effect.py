"""The effect of a policy on held-out pairs: how much their odds moved, not the direction alone. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dpo_core.evaluation.outcomes import Outcomes
from sweeps.run_dir.json_types import EffectJson
from sweeps.selection.eligibility import MARGIN, is_moved

_MOST_NATS = 6.9  # larger factors are only said to be above a thousand
_LEAST_NATS = math.log(1.005)  # smaller factors would be shown as 1


@dataclass(frozen=True)
class Effect:
    """The difference between a policy and the untouched model on one split."""

    pairs: int
    moved: float
    """Share of pairs whose margin is beyond τ, in [0, 1]."""
    median_margin: float
    """Median of h = Δ_w − Δ_l in nats: the odds of the preferred answer changed by exp(h)."""
    mean_margin: float
    """Mean of h in nats."""
    chosen_gain: float
    """What chosen answers gained in log-prob, ΣΔ_w / Σ|y_w|: nats per token."""
    rejected_gain: float
    """The same for rejected answers."""
    order_changed: float
    """Share of pairs of which the policy likes the other answer better than the untouched model."""
    held_out_loss: float | None
    """Mean loss in nats at the β of the trial; None where outcomes do not tell it."""
    reference_loss: float | None
    """The untouched model's loss by the same formula: ln 2, unless the loss has a target margin."""
    answers_differ: float | None
    """Share of sampled answers that differ from the untouched model's; None without answers."""

    def as_dict(self) -> EffectJson:
        """Return the effect as selection.json holds it."""
        return {
            "pairs": self.pairs,
            "moved": self.moved,
            "median_margin": self.median_margin,
            "mean_margin": self.mean_margin,
            "chosen_gain": self.chosen_gain,
            "rejected_gain": self.rejected_gain,
            "order_changed": self.order_changed,
            "held_out_loss": self.held_out_loss,
            "reference_loss": self.reference_loss,
            "answers_differ": self.answers_differ,
        }


def measure_effect(
    outcomes: Outcomes,
    threshold: float,
    held_out_loss: float | None = None,
    reference_loss: float | None = None,
    answers_differ: float | None = None,
) -> Effect:
    """Measure what a policy did to the pairs of a split.

    Args:
        outcomes: Outcomes of every pair of the split.
        threshold: τ in nats.
        held_out_loss: Mean loss of the pairs at the β of the trial, nats.
        reference_loss: The untouched model's by the same formula, nats.
        answers_differ: Share of sampled answers that differ from the untouched model's.

    Returns:
        The effect.
    """
    margins = outcomes.margins(MARGIN)
    before = np.sign(outcomes.ref_chosen_logp - outcomes.ref_rejected_logp)
    after = np.sign(outcomes.chosen_logp - outcomes.rejected_logp)
    return Effect(
        pairs=len(outcomes.ids),
        moved=float(is_moved(outcomes, threshold).mean()),
        median_margin=float(np.median(margins)),
        mean_margin=float(margins.mean()),
        chosen_gain=float(outcomes.chosen_gain.sum() / outcomes.chosen_tokens.sum()),
        rejected_gain=float(outcomes.rejected_gain.sum() / outcomes.rejected_tokens.sum()),
        order_changed=float((before != after).mean()),
        held_out_loss=held_out_loss,
        reference_loss=reference_loss,
        answers_differ=answers_differ,
    )


def effect_sentences(effect: EffectJson) -> Iterator[str]:
    """Say an effect in words, one sentence at a time."""
    yield (
        f"{_odds(effect['median_margin'])} in the median pair, and the mean margin is "
        f"{effect['mean_margin']:+z.2f} nats; "
        f"{100 * effect['order_changed']:.0f} % of pairs changed their order of likelihood"
    )
    yield _chosen_answers(effect)
    loss, untouched = effect["held_out_loss"], effect.get("reference_loss")
    if loss is not None and untouched is not None and loss > untouched:
        yield (
            f"the held-out loss at the trial's own beta is {loss:.3f}, above the {untouched:.3f} of "
            "the untouched model: where the policy is wrong, it is wrong by much"
        )
    differ = effect["answers_differ"]
    if differ is not None:
        yield f"{100 * differ:.0f} % of sampled answers differ from the untouched model's"


def odds_factor(nats: float) -> str:
    """Return by what factor odds changed, whatever the direction, in words."""
    if not abs(nats) <= _MOST_NATS:
        return "more than 1,000-fold"
    return f"{math.exp(abs(nats)):.3g}-fold"


def _odds(nats: float) -> str:
    odds = "the odds of the preferred answer"
    if abs(nats) < _LEAST_NATS:
        return f"{odds} changed by less than 0.5 %"
    return f"{odds} {'grew' if nats > 0 else 'shrank'} {odds_factor(nats)}"


def _chosen_answers(effect: EffectJson) -> str:
    gain, rejected = effect["chosen_gain"], effect["rejected_gain"]
    if gain >= 0:
        return f"chosen answers gained {gain:.3f} nats a token"
    lost = (
        f"chosen answers lost {-gain:.3f} nats a token: the policy writes the preferred answers less "
        "readily than the untouched model does"
    )
    ranks_them_higher = effect["median_margin"] > 0 and effect["mean_margin"] > 0
    if ranks_them_higher and rejected < gain:
        return f"{lost}, and ranks them higher because rejected ones lost more"
    moved = "lost" if rejected < 0 else "gained"
    return f"{lost}; rejected answers {moved} {abs(rejected):.3f} nats a token"
