"""The events of trials that a sweep reports while it runs: to its terminal, to its metrics.

Tested in tests/unit/sweeps/trials/test_metrics.py and tests/unit/sweeps/cli/test_terminal.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sweeps.run_dir.ledger import TrialRecord

EndKind = Literal["finished", "stopped", "failed"]
EventKind = Literal["started", "evaluated"] | EndKind


@dataclass(frozen=True)
class TrialEvent:
    """One event of a trial, with its point.

    `metrics` are those that an evaluation reported. `record` is the ledger's, once the trial has
    finished, was stopped or has failed; `progress` is the sweep's in words, such as "3 of 14 trials".
    """

    kind: EventKind
    trial: str
    point: Mapping[str, Any]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    record: TrialRecord | None = None
    progress: str = ""


OnTrialEvent = Callable[[TrialEvent], None]
