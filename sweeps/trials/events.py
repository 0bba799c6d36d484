"""The events of a trial that a sweep reports to its terminal and its metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Happening:
    """What the terminal may tell: kind is started, evaluated, finished, stopped or failed."""

    kind: str
    trial: str
    point: dict[str, Any]
    metrics: dict[str, Any]
    reason: str | None = None


Tell = Callable[[Happening], None]
