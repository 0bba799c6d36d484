"""What fits a device: activation checkpointing by estimate, the length of rows by measurement."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from dpo_core.encoding.packing import build_row
from dpo_core.encoding.token_table import EncodedPair
from dpo_core.scoring.logprobs import row_logps
from dpo_core.settings import DEFAULT_ROW_TOKENS

# The share of a device that may be filled: allocators waste some, estimates are estimates.
USABLE = 0.8
# A longer row must be faster by this factor, or the shorter one is kept.
_WORTH = 1.05
_LONGEST_ROW = 65_536


def device_bytes(device: str) -> int:
    """Memory of the GPU, or of the machine and the container that this process is in."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[1])
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return min(installed, int(text)) if text.isdigit() else installed


def fits(estimated_bytes: int, available_bytes: float) -> bool:
    return estimated_bytes <= USABLE * available_bytes


def fastest_row(seconds_per_token: Callable[[int], float | None], first: int = 512) -> int:
    """Doubles the row while that pays. The callable gives None for a row that does not fit."""
    best, fastest = first, seconds_per_token(first)
    while fastest is not None and best < _LONGEST_ROW:
        longer = seconds_per_token(2 * best)
        if longer is None or longer * _WORTH > fastest:
            break
        best, fastest = 2 * best, longer
    return best


def measured_row_tokens(
    model: Any, pairs: Sequence[EncodedPair], autocast: Callable[[], Any], reserved_bytes: int
) -> int:
    """The fastest row on this GPU by forward and backward passes over `pairs`; on a CPU, where rows
    of 512 tokens and more were measured within 5 % of each other, the default.

    `reserved_bytes` is what optimizer and gradients of a trial will need beside the weights.
    """
    device = next(model.parameters()).device
    if device.type != "cuda":
        return DEFAULT_ROW_TOKENS
    room = USABLE * device_bytes("cuda") - reserved_bytes

    def measure(tokens: int) -> float | None:
        row = _row_of(pairs, tokens).to(device)
        torch.cuda.reset_peak_memory_stats()
        try:
            for _ in range(2):  # the first one also loads kernels
                torch.cuda.synchronize()
                began = time.perf_counter()
                with autocast():
                    total = row_logps(model, row, shared=True).chosen.sum()
                torch.autograd.grad(total, [model.get_input_embeddings().weight])
                torch.cuda.synchronize()
                seconds = time.perf_counter() - began
        except torch.cuda.OutOfMemoryError:
            return None
        finally:
            torch.cuda.empty_cache()
        if torch.cuda.max_memory_allocated() > room:
            return None
        return float(seconds / row.input_ids.shape[1])

    return fastest_row(measure)


def _row_of(pairs: Sequence[EncodedPair], tokens: int) -> Any:
    """One row of at least `tokens` tokens; short data are repeated."""
    taken: list[EncodedPair] = []
    for pair in itertools.cycle(pairs):
        taken.append(pair)
        if sum(p.tokens for p in taken) >= tokens:
            return build_row(taken, range(len(taken)))
    raise ValueError("no pairs to measure with")
