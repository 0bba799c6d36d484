"""A point of the search space with the trial that runs it and its seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class DrawnPoint:
    """A point with the name of the trial that must run it, and its seed."""

    trial: str
    point: Mapping[str, Any]
    seed: int

    def as_dict(self) -> dict[str, Any]:
        return {"trial": self.trial, "point": dict(self.point), "seed": self.seed}
