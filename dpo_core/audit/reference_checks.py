"""What the reference model's log-probs tell of preference data, without any training. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dpo_core.audit.pair_checks import INFO, WARNING, Finding
from dpo_core.encoding.token_table import TokenTable

Mask = npt.NDArray[np.bool_]
Columns = Mapping[str, Any]

OUT_OF_DISTRIBUTION_WARNING = 0.1
CERTAIN_NATS = 0.02
"""An answer above -0.02 nats a token has nothing left to gain: the model says it anyway."""
UNMOVED_WARNING = 0.05
_SHOWN = 5


def reference_findings(
    pairs: TokenTable,
    reference: Columns,
    location: Callable[[int], str],
    golden: Collection[str] = (),
) -> list[Finding]:
    """`location` says where the i-th pair was read. The rejected answers of the sources in `golden` are
    the model's own."""
    chosen = reference["chosen"] / reference["chosen_tokens"]
    rejected = reference["rejected"] / reference["rejected_tokens"]
    # What people wrote and preferred says how unlikely an answer may be.
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
        "of pairs the untouched model already finds the chosen answer more likely",
        is_share=True,
    )


def _likelihood(chosen: Any, rejected: Any) -> Finding:
    return Finding(
        "mean_logp",
        INFO,
        float(np.mean(rejected)),
        f"nats a token on average for rejected answers, {np.mean(chosen):.2f} for chosen ones",
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
            "the chosen answer is; every token costs, so it is negative",
        )


def _out_of_distribution(
    out: Mask, own: Mask, limit: float, location: Callable[[int], str]
) -> Finding:
    share = float(np.mean(out))
    message = (
        f"of rejected answers are less likely a token than 99 % of the chosen ones "
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
        _places(out, location),
        is_share=True,
    )


def _unmoved(unmoved: Mask, location: Callable[[int], str]) -> Iterator[Finding]:
    share = float(np.mean(unmoved))
    if share > 0:
        yield Finding(
            "unmoved",
            WARNING if share > UNMOVED_WARNING else INFO,
            share,
            "of pairs the objective cannot move: their answers are the same tokens, or the model "
            "is certain of the chosen one and would never give the rejected one",
            "raise data.max_tokens where answers are cut to the same text; drop the others",
            _places(unmoved, location),
            is_share=True,
        )


def _places(mask: Mask, location: Callable[[int], str]) -> tuple[str, ...]:
    return tuple(location(int(index)) for index in np.flatnonzero(mask)[:_SHOWN])
