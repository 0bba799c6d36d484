"""A stored evaluation as the ledger keeps it: pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dpo_core.evaluation.failure_modes import health
from dpo_core.evaluation.outcomes import Outcomes, label_slices, length_slices
from sweeps.run_dir.ledger import EvaluationRecord


def evaluation_record(
    metadata: dict[str, Any], outcomes: Outcomes, labels: Mapping[str, Mapping[str, str | None]]
) -> EvaluationRecord:
    """What the ledger keeps of one stored evaluation."""
    counts = outcomes.counts()
    return EvaluationRecord(
        step=metadata["step"],
        loss=metadata["loss"],
        counts={
            n: {"correct": c.correct, "ties": c.ties, "total": c.total} for n, c in counts.items()
        },
        slices={
            name: length_slices(outcomes, name) | label_slices(outcomes, name, labels)
            for name in counts
        },
        health=health(outcomes),
    )
