"""The check of whether a model gives exact log-probs when prompts are shared in packed rows.

A packed row is exact for a model whose layers see other tokens through attention alone, in the
positions they are given. State-space and convolution layers do not; attention windows and RoPE
that depends on the longest position do so up to some length. Those lengths are read from the
config; for the rest no list of model names is trusted, but a few pairs are scored both ways before
the reference pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from dpo_core.encoding.packing import build_row
from dpo_core.encoding.token_table import EncodedPair, TokenTable
from dpo_core.scoring.logprobs import token_logps, token_logps_unshared

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from dpo_core.models.load import CausalModel

# Differences of a token's log-probability, in nats, that float noise explains: the largest in
# float32. In lower precision single tokens differ more, and a wrong mask costs whole nats, so there
# the mean decides.
LARGEST_NATS, MEAN_NATS = 1e-3, 0.1
_MEASURED_PAIRS = 4


def why_not_shared(model: CausalModel, pairs: Sequence[EncodedPair]) -> str | None:
    """Return why packed rows would not be exact for `pairs`, or None when they are."""
    longest = int(TokenTable.of(pairs).sequence_lengths.max())
    return _too_long(model.config.get_text_config(), longest) or _measured(model, pairs)


def _too_long(config: PretrainedConfig, longest: int) -> str | None:
    window = getattr(config, "sliding_window", None)
    if window is not None and longest > window:
        return f"a pair of {longest} tokens is longer than the attention window of {window}"
    rope = getattr(config, "rope_parameters", None) or {}
    for kind in (rope, *(v for v in rope.values() if isinstance(v, dict))):
        if kind.get("rope_type") not in ("dynamic", "longrope"):
            continue
        limit = kind.get("original_max_position_embeddings") or config.max_position_embeddings
        if longest > limit:
            return (
                f"a pair of {longest} tokens is beyond the {limit} after which {kind['rope_type']} "
                "RoPE depends on the longest sequence"
            )
    return None


@torch.no_grad()
def _measured(model: CausalModel, pairs: Sequence[EncodedPair]) -> str | None:
    """Score the shortest pairs both ways; return how they differ, or None when they do not."""
    shortest = np.argsort(TokenTable.of(pairs).tokens, kind="stable")[:_MEASURED_PAIRS]
    few = [pairs[int(i)] for i in shortest]
    row = build_row(few, range(len(few))).to(next(model.parameters()).device)
    plain = token_logps_unshared(model, row)
    try:
        shared = token_logps(model, row)
    except Exception as error:  # an unknown architecture may raise anything on a packed row
        first_line = str(error).strip().splitlines()[:1]
        return f"the model refuses packed rows ({type(error).__name__}: {' '.join(first_line)})"
    difference = (shared - plain).abs()
    exact = model.dtype == torch.float32 and not torch.is_autocast_enabled(
        row.input_ids.device.type
    )
    bad = difference.max() > LARGEST_NATS if exact else difference.mean() > MEAN_NATS
    if bad or not torch.isfinite(difference).all():
        return f"packed and plain passes differ by up to {difference.max():.3g} nats a token"
    return None
