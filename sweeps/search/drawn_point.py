"""A point of the search space with the trial that runs it and its seed.

Tested in tests/unit/sweeps/search/test_searcher.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sweeps.run_dir.json_types import Point


@dataclass(frozen=True)
class DrawnPoint:
    """A point with the name of the trial that must run it, and its seed."""

    trial: str
    point: Point
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, as a trial's configuration in Tune and as JSON."""
        return {"trial": self.trial, "point": dict(self.point), "seed": self.seed}
