"""The ranks of one trial's process group: which one this is, and values gathered from all of them."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch.distributed as dist

Value = TypeVar("Value")


def rank_and_world() -> tuple[int, int]:
    """Return the rank of this process and the number of ranks.

    Returns:
        The rank, from 0, and how many there are; (0, 1) outside a process group.
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def gather_dicts(local: dict[int, Value]) -> dict[int, Value]:
    """Join the dicts of all ranks into one, on every rank."""
    _, world = rank_and_world()
    if world == 1:
        return local
    return {key: value for part in _gather(local, world) for key, value in part.items()}


def mean_over_ranks(value: float) -> float:
    """Return the mean of every rank's `value`, on every rank."""
    _, world = rank_and_world()
    if world == 1:
        return value
    return float(np.mean(_gather(value, world)))


def _gather(local: object, world: int) -> list[Any]:
    parts: list[Any] = [None] * world
    dist.all_gather_object(parts, local)
    return parts
