"""Rows of the candidates as selection.json holds them: numbers, checks and differences. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dpo_core.evaluation.outcomes import Floats
from sweeps.run_dir.json_types import CandidateJson, DifferenceJson
from sweeps.selection.ordering import ranked
from sweeps.selection.rule import Candidate, Choice
from sweeps.selection.statistics import (
    Groups,
    accuracy_intervals,
    compare,
    holm,
    standard_errors,
)


def candidate_rows(
    candidates: Sequence[Candidate],
    choice: Choice,
    groups: Groups,
    others: Mapping[str, Floats],
) -> list[CandidateJson]:
    """Describe every candidate.

    Args:
        candidates: All candidates, in any order.
        choice: The choice among them.
        groups: Prompt groups of the select split.
        others: Scores of other policies on the same pairs by their names, each (pairs,).

    Returns:
        A row for each candidate, best first. `against` has its differences from the best candidate
        and from the other policies; p-values are also corrected for the number of candidates.
    """
    if not candidates:
        return []
    shortlisted, order = {c.checkpoint for c in choice.shortlist}, ranked(candidates)
    if choice.best is not None:
        others = {"best": choice.best.scores, **others}
    scores = np.stack([c.scores for c in order])
    intervals = accuracy_intervals(scores, groups).tolist()
    differences = {name: _differences(scores - other, groups) for name, other in others.items()}
    return [
        {
            "trial": c.trial,
            "step": c.step,
            "seed": c.seed,
            "point": dict(c.point),
            "accuracy": c.accuracy,
            "counts": _counts(c.scores),
            "interval": intervals[number],
            "standard_error": _standard_error(c.scores, groups),
            "chosen_gain": c.chosen_gain,
            "drift": c.drift,
            "violations": dict(c.violations),
            "eligible": c.eligible,
            "guardrails": {name: check.as_dict() for name, check in c.checks.items()},
            "admissible": c.admissible,
            "shortlisted": c.checkpoint in shortlisted,
            "against": {name: rows[number] for name, rows in differences.items()},
        }
        for number, c in enumerate(order)
    ]


def _differences(differences: Floats, groups: Groups) -> list[DifferenceJson]:
    """Compare each row of (candidates, pairs)."""
    comparisons = compare(differences, groups)
    corrected = holm([comparison.p_value for comparison in comparisons])
    return [
        {**comparison.as_dict(), "p_holm": p_value}
        for comparison, p_value in zip(comparisons, corrected, strict=True)
    ]


def _counts(scores: Floats) -> dict[str, int]:
    correct, ties = int((scores == 1).sum()), int((scores == 0.5).sum())
    return {"correct": correct, "ties": ties, "total": len(scores)}


def _standard_error(scores: Floats, groups: Groups) -> float | None:
    """Return the standard error of an accuracy; None for one group, as JSON has no infinity."""
    error = float(standard_errors(scores[None], groups)[0])
    return error if np.isfinite(error) else None
