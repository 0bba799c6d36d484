"""The memory of a device: whether an estimate fits it, and the fastest row length by measurement."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dpo_core.encoding.packing import Row, build_row
from dpo_core.encoding.token_table import EncodedPair
from dpo_core.scoring.logprobs import row_logps
from dpo_core.scoring.row_layout import RowLayout
from dpo_core.settings import DEFAULT_ROW_TOKENS

if TYPE_CHECKING:
    from dpo_core.models.load import CausalModel

# The share of a device's memory that may be planned for: allocators waste some, and estimates err.
USABLE = 0.8
# A row of twice the length must be faster by this factor, or the shorter one is kept.
_WORTHWHILE_SPEEDUP = 1.05
_LONGEST_ROW = 65_536


def device_bytes(device: str) -> int:
    """Return the memory of the GPU, or the RAM of this machine within its container's limit."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[1])
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return min(installed, int(text)) if text.isdigit() else installed


def fits(estimated_bytes: int, available_bytes: float) -> bool:
    """Return whether an estimate fits into the usable share of the available memory."""
    return estimated_bytes <= USABLE * available_bytes


def fastest_row(seconds_per_token: Callable[[int], float | None], first: int = 512) -> int:
    """Find the fastest row length in tokens by doubling it from `first` while that pays.

    `seconds_per_token(tokens)` measures a row, and returns None for one that does not fit.
    """
    best, fastest = first, seconds_per_token(first)
    while fastest is not None and best < _LONGEST_ROW:
        longer = seconds_per_token(2 * best)
        if longer is None or longer * _WORTHWHILE_SPEEDUP > fastest:
            break
        best, fastest = 2 * best, longer
    return best


def measured_row_tokens(
    model: CausalModel,
    pairs: Sequence[EncodedPair],
    autocast: Callable[[], AbstractContextManager[object]],
    reserved_bytes: int,
    layout: RowLayout = RowLayout.PACKED,
) -> int:
    """Measure the fastest row length of this GPU by forward and backward passes.

    On a CPU nothing is measured: rows of 512 tokens and more were within 5 % of each other there.

    Args:
        model: The base model, on its device.
        pairs: What the rows are built of.
        autocast: Called for each pass; returns the context that sets the dtype of compute.
        reserved_bytes: What optimizer and gradients of a trial need beside the weights.
        layout: How the pairs of a row go through the model.

    Returns:
        Tokens of a row; the default on a CPU.

    Raises:
        ValueError: `pairs` is empty.
    """
    device = next(model.parameters()).device
    if device.type != "cuda":
        return DEFAULT_ROW_TOKENS
    available_bytes = USABLE * device_bytes("cuda") - reserved_bytes

    def measure(tokens: int) -> float | None:
        row = _row_of(pairs, tokens).to(device)
        torch.cuda.reset_peak_memory_stats()
        try:
            for _ in range(2):  # the first one also loads kernels
                torch.cuda.synchronize()
                start = time.perf_counter()
                with autocast():
                    total = row_logps(model, row, layout).chosen.sum()
                torch.autograd.grad(total, [model.get_input_embeddings().weight])
                torch.cuda.synchronize()
                seconds = time.perf_counter() - start
        except torch.cuda.OutOfMemoryError:
            return None
        finally:
            torch.cuda.empty_cache()
        if torch.cuda.max_memory_allocated() > available_bytes:
            return None
        return float(seconds / row.input_ids.shape[1])

    return fastest_row(measure)


def _row_of(pairs: Sequence[EncodedPair], tokens: int) -> Row:
    """Build one row of at least `tokens` tokens; the pairs are repeated where they are too few."""
    taken: list[EncodedPair] = []
    for pair in itertools.cycle(pairs):
        taken.append(pair)
        if sum(p.tokens for p in taken) >= tokens:
            return build_row(taken, range(len(taken)))
    raise ValueError("no pairs to measure with")
