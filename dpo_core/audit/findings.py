"""Findings of the checks of data, and the locations of their examples.

A finding has a severity, a number, the locations of examples and a remedy. `severe` means that results
of a sweep would be wrong or that it could learn nothing, `warning` that a result must be read with care,
and `info` that the finding is good to know.

Tested in tests/unit/dpo_core/audit/test_pair_checks.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dpo_core.preferences.pairs import location
from dpo_core.preferences.table import PairTable

INFO, WARNING, SEVERE = "info", "warning", "severe"
SHOWN = 5
"""The most examples of a finding."""


@dataclass(frozen=True)
class Finding:
    """One result of a check.

    `number` is a count, or a share in [0, 1] if `is_share`. `message` continues the sentence that the
    number begins. `places` are locations of examples.
    """

    code: str
    severity: str
    number: float
    message: str
    remedy: str = ""
    places: tuple[str, ...] = ()
    is_share: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as JSON content."""
        return {**asdict(self), "places": list(self.places)}


class Locations:
    """The locations from which pairs were read; indices count over all splits, one after the other."""

    def __init__(self, tables: Sequence[PairTable]) -> None:
        self.tables = tables
        self.ends = np.cumsum([len(table) for table in tables])

    def __getitem__(self, index: int) -> str:
        number = int(np.searchsorted(self.ends, index, side="right"))
        table = self.tables[number]
        return location(table[int(index - self.ends[number] + len(table))])


def examples(mask: npt.NDArray[np.bool_], locations: Locations) -> tuple[str, ...]:
    """Return the first few locations at which the mask is set."""
    return tuple(locations[int(i)] for i in np.flatnonzero(mask)[:SHOWN])


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings with severe ones first, then warnings, then information."""
    order = (SEVERE, WARNING, INFO)
    return sorted(findings, key=lambda finding: order.index(finding.severity))
