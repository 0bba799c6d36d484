"""Checks of preference data by the reference model's log-probabilities, without any training.

The checks are pure: they take tokens and log-probabilities and return findings.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from dpo_core.audit.findings import INFO, WARNING, Finding
from dpo_core.encoding.token_table import TokenTable

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Columns = Mapping[str, Floats]
"""Summed log-probabilities (nats) and token counts of `chosen` and `rejected`, shape (pairs,)."""

OUT_OF_DISTRIBUTION_WARNING = 0.1
CERTAIN_NATS = 0.02
"""An answer above -0.02 nats per token cannot become more likely: the model is certain of it."""
UNMOVED_WARNING = 0.05
_SHOWN = 5


def reference_findings(
    pairs: TokenTable,
    reference: Columns,
    location: Callable[[int], str],
    golden: Collection[str] = (),
) -> list[Finding]:
    """Run all checks that need the reference model's log-probabilities.

    Args:
        pairs: The encoded pairs.
        reference: Their columns under the reference model.
        location: Returns the source and line from which the i-th pair was read.
        golden: The sources whose rejected answers are the model's own.

    Returns:
        Findings, in no order of severity.
    """
    chosen = reference["chosen"] / reference["chosen_tokens"]
    rejected = reference["rejected"] / reference["rejected_tokens"]
    # Chosen answers, which people wrote or preferred, set how unlikely a plausible answer can be.
    limit = float(np.quantile(chosen, 0.01))
    out: Mask = rejected < limit
    own: Mask = np.isin([source or "" for source in pairs.labels("source")], list(golden))
    unmoved: Mask = ~pairs.distinct | (out & (chosen > -CERTAIN_NATS))
    return [
        _ranked_right(reference),
        _likelihood(chosen, rejected),
        *_length(pairs, reference),
        _out_of_distribution(out, own, limit, location),
        *_unmoved(unmoved, location),
    ]


def _ranked_right(reference: Columns) -> Finding:
    return Finding(
        "reference_ranks_right",
        INFO,
        float(np.mean(reference["chosen"] > reference["rejected"])),
        "of pairs have a chosen answer that the untouched model already finds more likely",
        is_share=True,
    )


def _likelihood(chosen: Floats, rejected: Floats) -> Finding:
    return Finding(
        "mean_logp",
        INFO,
        float(np.mean(rejected)),
        f"nats per token on average for rejected answers, {np.mean(chosen):.2f} for chosen ones",
    )


def _length(pairs: TokenTable, reference: Columns) -> Iterator[Finding]:
    gap = pairs.lengths["chosen"] - pairs.lengths["rejected"]
    margin = reference["chosen"] - reference["rejected"]
    if np.std(gap) > 0 and np.std(margin) > 0:
        yield Finding(
            "reference_length_correlation",
            INFO,
            float(np.corrcoef(gap, margin)[0, 1]),
            "is the correlation of the untouched model's margin (nats) with how many tokens longer "
            "the chosen answer is; every token lowers the log-probability, so it is negative",
        )


def _out_of_distribution(
    out: Mask, own: Mask, limit: float, location: Callable[[int], str]
) -> Finding:
    share = float(np.mean(out))
    message = (
        f"of rejected answers are less likely per token than 99 % of the chosen ones "
        f"(below {limit:.2f} nats): they give hardly any gradient"
    )
    if own.any() and not own.all():
        without, golden = 100 * np.mean(out[~own]), 100 * np.mean(out[own])
        message += (
            f"; it is {without:.1f} % without the golden answers and {golden:.1f} % of the model's "
            "own answers to them"
        )
    return Finding(
        "out_of_distribution",
        WARNING if share > OUT_OF_DISTRIBUTION_WARNING else INFO,
        share,
        message,
        "use golden answers against the model's own (data.sources, kind: golden)",
        _examples(out, location),
        is_share=True,
    )


def _unmoved(unmoved: Mask, location: Callable[[int], str]) -> Iterator[Finding]:
    share = float(np.mean(unmoved))
    if share > 0:
        yield Finding(
            "unmoved",
            WARNING if share > UNMOVED_WARNING else INFO,
            share,
            "of pairs cannot be moved by the objective: their answers are the same tokens, or the "
            "model is certain of the chosen one and would never give the rejected one",
            "raise data.max_tokens where answers are cut to the same text; drop the others",
            _examples(unmoved, location),
            is_share=True,
        )


def _examples(mask: Mask, location: Callable[[int], str]) -> tuple[str, ...]:
    return tuple(location(int(index)) for index in np.flatnonzero(mask)[:_SHOWN])
