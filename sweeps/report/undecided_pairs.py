"""The pairs that the noise of half precision leaves undecided, and what float32 would cost. Pure."""

from __future__ import annotations

from dpo_core.evaluation.outcomes import Outcomes
from sweeps.report.file_types import PreparedJson
from sweeps.run_dir.prepared import float32_price
from sweeps.selection.eligibility import is_moved, margin_threshold

_WORTH_SAYING = 0.1
"""The share of pairs above which it is said that float32 would decide them."""


def undecided_pairs_sentence(
    outcomes: Outcomes, min_margin: float, prepared: PreparedJson
) -> str | None:
    """Say how many pairs lie within a threshold that noise has raised, and the price of float32.

    Args:
        outcomes: Outcomes of the winner on a split.
        min_margin: The setting `selection.min_margin`, in nats.
        prepared: The noise of margins, and the share of the compute that scoring takes by dtype.

    Returns:
        A sentence or two; None where noise did not raise the threshold, or few pairs lie within.
    """
    noise = prepared.get("margin_noise", 0.0)
    dtype, shares = prepared.get("score_dtype", ""), prepared.get("scoring_shares", {})
    threshold = margin_threshold(min_margin, noise)
    pairs = len(outcomes.ids)
    undecided = pairs - int(is_moved(outcomes, threshold).sum())
    if threshold <= min_margin or not pairs or undecided <= _WORTH_SAYING * pairs:
        return None
    sentence = (
        f"{undecided} of {pairs} pairs lie within τ = {threshold:.2g} nats, which the noise of "
        f"{dtype} sets ({noise:.2g} nats a margin). Scored in float32, those beyond {min_margin:g} "
        "nats would be decided"
    )
    times = float32_price(dtype, shares)
    if times is None:
        return f"{sentence} (selection.score_dtype=float32)."
    price = f"makes such a sweep cost {times:.1f} times as much"
    return f"{sentence}; selection.score_dtype=float32 {price}."
