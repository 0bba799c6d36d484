"""Rows of candidates: their numbers by hand, and their differences from other policies."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sweeps.selection.candidate_rows import candidate_rows
from sweeps.selection.guardrails import Check
from sweeps.selection.rule import Candidate, choose
from sweeps.selection.statistics import Groups, accuracy_intervals, compare, holm

PAIRS = 40
ALONE = Groups(np.arange(PAIRS, dtype=np.int64))
DRIFTED = {"drift_chosen": Check(1.5, 1.0, False, "exclude")}
REFERENCE = np.full(PAIRS, 0.5)


def candidate(trial: str, right: int, ties: int = 0, **changes) -> Candidate:
    """Return a candidate that is right on the first pairs and tied on the next ones, of 40."""
    scores = np.array([1.0] * right + [0.5] * ties + [0.0] * (PAIRS - right - ties))
    fields = {"seed": 3, "point": {"beta": 0.1}, "drift": 0.25, "chosen_gain": -0.25, **changes}
    return Candidate(trial, 8, scores=scores, **fields)


# The first drifted over its limit, the other two differ by 16 pairs.
THREE = [candidate("t0002", 10), candidate("t0000", 36, checks=DRIFTED), candidate("t0001", 26, 4)]


def rows_of(candidates: list[Candidate], groups: Groups = ALONE) -> list[dict]:
    return candidate_rows(candidates, choose(candidates, groups), groups, {"reference": REFERENCE})


def test_a_row_by_hand() -> None:
    row = rows_of(THREE)[0]
    against, scores = row.pop("against"), THREE[2].scores[None]
    assert row == {
        "trial": "t0001",
        "step": 8,
        "seed": 3,
        "point": {"beta": 0.1},
        "accuracy": 0.7,  # (26 + 4/2) / 40
        "counts": {"correct": 26, "ties": 4, "total": 40},
        "interval": pytest.approx(accuracy_intervals(scores, ALONE)[0].tolist()),
        # residuals .3, −.2, −.7: √((26 · .09 + 4 · .04 + 10 · .49) · 40/39) / 40
        "standard_error": pytest.approx(0.0688737, abs=1e-6),
        "chosen_gain": -0.25,
        "drift": 0.25,
        "violations": {},
        "eligible": True,
        "guardrails": {},
        "admissible": True,
        "shortlisted": True,
    }
    assert set(against) == {"best", "reference"}
    assert against["best"]["difference"] == 0.0
    assert against["reference"]["difference"] == pytest.approx(0.2)


def test_rows_are_best_first_and_what_is_excluded_comes_last() -> None:
    rows = rows_of(THREE)
    assert [row["trial"] for row in rows] == ["t0001", "t0002", "t0000"]
    assert [row["admissible"] for row in rows] == [True, True, False]
    assert [row["shortlisted"] for row in rows] == [True, False, False]
    assert rows[2]["guardrails"] == {"drift_chosen": {"value": 1.5, "limit": 1.0, "passed": False}}


def test_p_values_are_corrected_for_the_number_of_candidates() -> None:
    rows = rows_of(THREE)
    ranked = [THREE[2], THREE[0], THREE[1]]
    for name, other in (("best", THREE[2].scores), ("reference", REFERENCE)):
        comparisons = compare(np.stack([c.scores for c in ranked]) - other, ALONE)
        corrected = holm([c.p_value for c in comparisons])
        assert [row["against"][name] for row in rows] == [
            {**c.as_dict(), "p_holm": p} for c, p in zip(comparisons, corrected, strict=True)
        ]


def test_where_nothing_is_admissible_there_is_no_best_to_compare_with() -> None:
    [row] = rows_of([THREE[1]])
    assert set(row["against"]) == {"reference"}


def test_one_group_of_pairs_has_no_standard_error_in_json() -> None:
    [row] = rows_of([THREE[0]], Groups(np.zeros(PAIRS, dtype=np.int64)))
    assert row["standard_error"] is None
    json.dumps(row, allow_nan=False)


def test_no_candidates_no_rows() -> None:
    assert rows_of([]) == []
