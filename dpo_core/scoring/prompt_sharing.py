"""May prompts be shared with this model? Looked up where it is known, and otherwise measured.

A packed row is exact for a model whose layers see other tokens through attention alone, in the
positions they are given. State-space and convolution layers do not, attention windows and RoPE
that looks at the longest position do so up to some length. Rather than to trust a list of names,
a few pairs are scored both ways before the reference pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from dpo_core.encoding.packing import build_row
from dpo_core.encoding.token_table import EncodedPair, TokenTable
from dpo_core.scoring.logprobs import token_logps, token_logps_unshared

# Largest difference of a token's log-probability that is float noise, nats. Lower precision has
# noise of its own, and a wrong mask gives whole nats, so there the mean decides.
LARGEST_NATS, MEAN_NATS = 1e-3, 0.1
_PROBED = 4


def why_not_shared(model: Any, pairs: Sequence[EncodedPair]) -> str | None:
    """The reason why packed rows would not be exact for `pairs`, or None when they are."""
    longest = int(TokenTable.of(pairs).sequence_lengths.max())
    return _too_long(model.config.get_text_config(), longest) or _measured(model, pairs)


def _too_long(config: Any, longest: int) -> str | None:
    window = getattr(config, "sliding_window", None)
    if window is not None and longest > window:
        return f"a pair of {longest} tokens is longer than the attention window of {window}"
    rope = getattr(config, "rope_parameters", None) or {}
    for kind in (rope, *(v for v in rope.values() if isinstance(v, dict))):
        if kind.get("rope_type") not in ("dynamic", "longrope"):
            continue
        reach = kind.get("original_max_position_embeddings") or config.max_position_embeddings
        if longest > reach:
            return (
                f"a pair of {longest} tokens is beyond the {reach} after which {kind['rope_type']} "
                "RoPE depends on the longest sequence"
            )
    return None


@torch.no_grad()
def _measured(model: Any, pairs: Sequence[EncodedPair]) -> str | None:
    shortest = np.argsort(TokenTable.of(pairs).tokens, kind="stable")[:_PROBED]
    few = [pairs[int(i)] for i in shortest]
    row = build_row(few, range(len(few))).to(next(model.parameters()).device)
    plain = token_logps_unshared(model, row)
    try:
        shared = token_logps(model, row)
    except Exception as error:  # whatever an unknown architecture makes of a packed row
        first = str(error).strip().splitlines()[:1]
        return f"the model refuses packed rows ({type(error).__name__}: {' '.join(first)})"
    apart = (shared - plain).abs()
    exact = model.dtype == torch.float32 and not torch.is_autocast_enabled(
        row.input_ids.device.type
    )
    bad = apart.max() > LARGEST_NATS if exact else apart.mean() > MEAN_NATS
    if bad or not torch.isfinite(apart).all():
        return f"packed and plain passes differ by up to {apart.max():.3g} nats a token"
    return None
