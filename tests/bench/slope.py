"""How the cost of a trial grows with the number of trials. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SIZES = (4, 16, 64)
_ENDED = ("finished", "stopped", "failed")


def ends(events: Sequence[dict[str, Any]]) -> list[float]:
    """Seconds from the start of the first trial to the end of each, in order."""
    return [e["at"] - events[0]["at"] for e in events if e["kind"] in _ENDED]


def slope_ratio(ended_s: Sequence[float]) -> float:
    """Seconds a trial adds between 16 and 64 of them, over those between 4 and 16."""
    few, some, many = (ended_s[size - 1] for size in SIZES)
    return ((many - some) / (SIZES[2] - SIZES[1])) / ((some - few) / (SIZES[1] - SIZES[0]))
