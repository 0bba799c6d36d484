"""Points trained again with new seeds: which, with what seeds, what it tells, and who then wins."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpo_core.evaluation import OBJECTIVES
from sweeps.records.confirmation import confirmed, finalists, new_seeds, to_export
from sweeps.records.ledger import EvaluationRecord, TrialRecord
from sweeps.records.selection import Candidate, candidates, ranked

REWARD = OBJECTIVES[0]


def evaluation(step: int, correct: int) -> EvaluationRecord:
    """Of 20 pairs."""
    counts = {name: {"correct": correct, "ties": 0, "total": 20} for name in OBJECTIVES}
    return EvaluationRecord(step, 0.6, counts, {}, {})


def trial(name: str, beta: float, steps: dict[int, int], **changes: Any) -> TrialRecord:
    evaluations = tuple(evaluation(step, correct) for step, correct in steps.items())
    fields = {"status": "finished", "seed": 0, **changes}
    return TrialRecord(name, {"beta": beta}, evaluations=evaluations, **fields)


def again(of: str, number: int, beta: float, steps: dict[int, int], **changes: Any) -> TrialRecord:
    return trial(f"{of}-s{number}", beta, steps, seed=100 + number, confirms=of, **changes)


FOUND = [
    trial("t0000", 0.1, {4: 10, 8: 16}),
    trial("t0001", 0.2, {4: 15, 8: 12}),
    trial("t0002", 0.3, {4: 11, 8: 14}),
]
AGAIN = [
    again("t0000", 1, 0.1, {4: 19, 8: 12}),
    again("t0000", 2, 0.1, {4: 19, 8: 14}),
    again("t0001", 1, 0.2, {4: 14, 8: 5}),
    again("t0001", 2, 0.2, {4: 15}, status="failed", reason="nan", detail="step 6"),
]


def best(records: list[TrialRecord], top: int = 3) -> list[Candidate]:
    return finalists(ranked(candidates(records), REWARD), top)


def places(found: list[Candidate]) -> list[tuple[str, int]]:
    return [(candidate.trial, candidate.step) for candidate in found]


def test_a_point_is_confirmed_at_its_best_step_and_once() -> None:
    # t0001 at step 8 would come fourth, but its point is there already
    assert places(best(FOUND)) == [("t0000", 8), ("t0001", 4), ("t0002", 8)]
    twin = trial("t0003", 0.1, {8: 16})
    assert places(best([*FOUND, twin])) == [("t0000", 8), ("t0001", 4), ("t0002", 8)]
    assert places(best(FOUND, 2)) == [("t0000", 8), ("t0001", 4)]
    assert best(FOUND, 0) == best([], 3) == []


def test_the_mean_at_the_same_step_decides_whatever_the_search_found() -> None:
    first, second, third = confirmed(best(FOUND), [*FOUND, *AGAIN], REWARD)
    assert (first.found.trial, second.found.trial) == ("t0001", "t0000")
    assert first.row(REWARD) == {
        "trial": "t0001",
        "step": 4,
        "point": {"beta": 0.2},
        "trials": ["t0001-s1", "t0001-s2"],  # the second failed later, after step 4
        "seeds": [101, 102],
        "accuracies": [0.7, 0.75],
        "mean": pytest.approx(0.725),
        "spread": pytest.approx(0.0353553, abs=1e-6),  # √(2 · 0.025²)
        "search_score": 0.75,
        "shrinkage": pytest.approx(0.025),
        "missing": [],
    }
    told = second.row(REWARD)
    assert told["accuracies"] == [0.6, 0.7], "19 of 20 at step 4 is another step's number"
    assert (told["mean"], told["shrinkage"]) == (pytest.approx(0.65), pytest.approx(0.15))
    assert third.row(REWARD)["mean"] is None


def test_a_seed_that_never_got_there_is_told_and_not_counted() -> None:
    failed = again("t0000", 3, 0.1, {4: 20}, status="failed", reason="nan", detail="step 6")
    seen = {c.found.trial: c for c in confirmed(best(FOUND), [*FOUND, *AGAIN, failed], REWARD)}
    row = seen["t0000"].row(REWARD)
    assert row["seeds"] == [101, 102]
    assert row["mean"] == pytest.approx(0.65)
    assert row["missing"] == [{"trial": "t0000-s3", "reason": "nan", "detail": "step 6"}]


def test_one_seed_has_a_mean_and_no_spread() -> None:
    [point] = confirmed(best(FOUND, 1), AGAIN[:1], REWARD)
    assert (point.row(REWARD)["mean"], point.row(REWARD)["spread"]) == (0.6, None)


def test_a_point_without_any_new_seed_comes_after_those_with_one() -> None:
    poor = again("t0002", 1, 0.3, {4: 1, 8: 1})
    order = [c.found.trial for c in confirmed(best(FOUND), [poor], REWARD)]
    assert order == ["t0002", "t0000", "t0001"]


def test_the_checkpoint_that_is_exported_is_that_of_the_best_seed() -> None:
    first, second, third = confirmed(best(FOUND), [*FOUND, *AGAIN], REWARD)
    assert places([to_export(first, REWARD)]) == [("t0001", 4)]  # 15 and 15 again: by name
    assert places([to_export(second, REWARD)]) == [("t0000", 8)]
    better = again("t0002", 1, 0.3, {4: 20, 8: 15})
    [point] = confirmed([third.found], [better], REWARD)
    assert places([to_export(point, REWARD)]) == [("t0002-s1", 8)]


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_ledger_moves_nothing(random: Any) -> None:
    records = [*FOUND, *AGAIN]
    shuffled = random.sample(records, len(records))
    search = [record for record in shuffled if record.confirms is None]
    rows = [c.row(REWARD) for c in confirmed(best(search), shuffled, REWARD)]
    expected = [c.row(REWARD) for c in confirmed(best(FOUND), records, REWARD)]
    assert rows == expected
    json.dumps(rows, allow_nan=False)


@pytest.mark.parametrize("sweep_seed", [0, 1, 2**40])
def test_new_seeds(sweep_seed: int) -> None:
    seeds = new_seeds(sweep_seed, 20)
    assert len({*seeds, sweep_seed}) == 21
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert new_seeds(sweep_seed, 3) == seeds[:3], "more seeds change none of the first"
    assert new_seeds(sweep_seed + 1, 20) != seeds
