"""Findings about rendered conversations: what the chat template dropped, moved or ignored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow.compute as pc

from dpo_core.audit.findings import (
    INFO,
    SEVERE,
    SHOWN,
    WARNING,
    Finding,
    Locations,
    examples,
)
from dpo_core.encoding.template_losses import DROPPED, IGNORED, MOVED, Loss
from dpo_core.encoding.token_table import TokenTable

MERGED_WARNING = 0.05
_REPORTED = (
    (
        DROPPED,
        "dropped_by_template",
        SEVERE,
        "of pairs lose a part of the conversation, because the chat template does not write it",
        "use a model whose template writes it, take it out of the data, or leave such rows out; "
        "data.system: fold keeps system texts",
    ),
    (
        MOVED,
        "moved_by_template",
        SEVERE,
        "of pairs have a part of the prompt in both answers, because the chat template writes the "
        "prompt in another way once an answer follows; it is trained as if the model had written it",
        "data.system: fold helps where a system text moves; else use a model with another template",
    ),
    (
        IGNORED,
        "ignored_template_settings",
        WARNING,
        "of pairs have a chat_template_kwargs that the chat template never mentions",
        "correct its name, or leave it out",
    ),
)


def template_findings(encoded: TokenTable, locations: Locations) -> Iterator[Finding]:
    """Report what the chat template did to conversations.

    Args:
        encoded: The pairs of all splits, one split after the other.
        locations: Where each of them was read.

    Yields:
        Each finding, with its share of pairs, where examples stand, and what was lost there.
    """
    yield from _losses(encoded, locations)
    merged = encoded.table["merged"].to_numpy().astype(bool)
    if merged.any():
        share = float(merged.mean())
        yield Finding(
            "merged",
            WARNING if share > MERGED_WARNING else INFO,
            share,
            "of pairs have answers that begin within the last tokens of the prompt, because template or "
            "tokenizer write the end of the prompt in another way once an answer follows; a prompt to "
            "be answered ends otherwise than the prompts that are trained on",
            "nothing where it is a token or two; else look at the rows with dpo-sweeps preview",
            examples(merged, locations),
            is_share=True,
        )


def _losses(encoded: TokenTable, locations: Locations) -> Iterator[Finding]:
    column = encoded.table["losses"].combine_chunks()
    numbers = np.flatnonzero(pc.list_value_length(column).to_numpy() > 0)
    losses = {int(i): [Loss(**each) for each in column[int(i)].as_py()] for i in numbers}
    for how, code, severity, message, remedy in _REPORTED:
        affected = {
            i: own
            for i, each in losses.items()
            if (own := [loss for loss in each if loss.how == how])
        }
        if affected:
            pairs_of = Counter(what for own in affected.values() for what in {o.what for o in own})
            kinds = ", ".join(f"{what} in {count:,}" for what, count in pairs_of.most_common())
            yield Finding(
                code,
                severity,
                len(affected) / len(encoded),
                f"{message} ({kinds})",
                remedy,
                tuple(
                    f"{locations[i]} ({own[0].what} {own[0].text})"
                    for i, own in list(affected.items())[:SHOWN]
                ),
                is_share=True,
            )
