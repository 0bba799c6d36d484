"""Points trained again with new seeds: which ones, with what seeds, their means, and the winner."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.run_dir.ledger import TrialRecord
from sweeps.selection.confirmation import candidate_pools, confirmed, finalists, new_seeds
from sweeps.selection.guardrails import Check
from sweeps.selection.rule import Candidate, choose
from sweeps.selection.statistics import Groups

PAIRS = 40
GROUPS = Groups.of([str(n) for n in range(PAIRS)])
BETA = {"t0000": 0.1, "t0001": 0.2, "t0002": 0.3}


def candidate(trial: str, step: int, correct: int, drift: float = 0.1, **changes: Any) -> Candidate:
    """The first `correct` of 40 pairs are right. Equal points have equal β."""
    scores = (np.arange(PAIRS) < correct).astype(float)
    searched, _, number = trial.partition("-s")
    fields = {"seed": 100 + int(number or 0), "point": {"beta": BETA.get(searched, 0.1)}, **changes}
    return Candidate(trial, step, scores=scores, chosen_gain=-drift, drift=drift, **fields)


def record(trial: str, **changes: Any) -> TrialRecord:
    searched, dash, _ = trial.partition("-s")
    fields = {"status": "finished", "seed": 0, "confirms": searched if dash else None, **changes}
    return TrialRecord(trial, {}, **fields)


# Each twelve pairs from the next, which is far more than a standard error.
SEARCHED = [
    candidate("t0000", 4, 2),
    candidate("t0000", 8, 38),
    candidate("t0001", 4, 26),
    candidate("t0001", 8, 20),
    candidate("t0002", 8, 14),
]
REPEATS = [
    candidate("t0000-s1", 4, 40),
    candidate("t0000-s1", 8, 24, drift=0.2),
    candidate("t0000-s2", 4, 40),
    candidate("t0000-s2", 8, 28, drift=0.4),
    candidate("t0001-s1", 4, 30),
    candidate("t0001-s1", 8, 1),
    candidate("t0001-s2", 4, 34),
]
RECORDS = [record(t) for t in ("t0000", "t0001", "t0002", "t0000-s1", "t0000-s2", "t0001-s1")]
RECORDS.append(record("t0001-s2", status="failed", reason="nan", detail="step 6"))
EVERYBODY = [*SEARCHED, *REPEATS]
DRIFTED = {"drift_chosen": Check(0.9, 0.5, False, "exclude")}


def keys(candidates: Any) -> list[tuple[str, int]]:
    return [c.checkpoint for c in candidates]


def top(count: int = 3, *more: Candidate) -> list[Candidate]:
    return finalists([*SEARCHED, *more], GROUPS, count)


def test_each_point_is_taken_once_at_the_step_that_the_sweep_would_choose() -> None:
    # t0001 at step 8 would come third, but its point is there already
    assert keys(top()) == [("t0000", 8), ("t0001", 4), ("t0002", 8)]
    assert keys(top(2)) == [("t0000", 8), ("t0001", 4)]
    assert keys(top(9)) == keys(top())
    twin = candidate("t0003", 8, 38, point={"beta": 0.1})
    assert keys(top(3, twin)) == keys(top())
    assert top(0) == finalists([], GROUPS, 3) == []


def test_what_guardrails_exclude_is_not_trained_again() -> None:
    best = candidate("t0009", 8, 40, point={"beta": 0.9}, checks=DRIFTED)
    assert keys(top(3, best)) == keys(top())


def test_of_equally_accurate_points_the_one_whose_chosen_answers_gained_most_comes_first() -> None:
    gained = candidate("t0009", 8, 38, drift=0.01, point={"beta": 0.9})
    assert keys(top(2, gained)) == [("t0009", 8), ("t0000", 8)]


def test_the_mean_at_the_same_step_decides_whatever_the_search_scored() -> None:
    first, second, third = confirmed(top(), EVERYBODY, RECORDS)
    assert first.row() == {
        "trial": "t0001",
        "step": 4,
        "point": {"beta": 0.2},
        "trials": ["t0001-s1", "t0001-s2"],  # the second failed later, after step 4
        "seeds": [101, 102],
        "accuracies": [0.75, 0.85],
        "counted": [True, True],
        "mean": pytest.approx(0.8),
        "spread": pytest.approx(0.0707107, abs=1e-6),  # √(2 · 0.05²)
        "search_score": 0.65,
        "shrinkage": pytest.approx(-0.15),
        "missing": [],
    }
    row = second.row()
    assert row["accuracies"] == [0.6, 0.7], "all right at step 4 is another step's number"
    assert (row["mean"], row["shrinkage"]) == (pytest.approx(0.65), pytest.approx(0.3))
    assert (third.mean, third.row()["shrinkage"], third.averaged) == (None, None, None)
    # The search's own score would have let t0000 win.
    confirmed_pool, searched_pool = candidate_pools([first, second, third], EVERYBODY, RECORDS)
    assert keys([choose(confirmed_pool, GROUPS).winner]) == [("t0001-s2", 4)]
    assert searched_pool == SEARCHED
    assert keys([choose(SEARCHED, GROUPS).winner]) == [("t0000", 8)]


def test_a_point_has_its_means_and_the_checkpoint_of_its_best_new_seed() -> None:
    _, second, _ = confirmed(top(), EVERYBODY, RECORDS)
    averaged = second.averaged
    assert averaged is not None
    assert (averaged.checkpoint, averaged.seed) == (("t0000-s2", 8), 102)
    assert averaged.drift == pytest.approx(0.3)
    assert averaged.scores.tolist() == [1.0] * 24 + [0.5] * 4 + [0.0] * 12
    assert averaged.accuracy == pytest.approx(0.65)


def test_a_seed_that_guardrails_exclude_takes_itself_out_of_the_mean() -> None:
    drifted = candidate("t0000-s3", 8, 40, checks=DRIFTED)
    [point] = confirmed(top(1), [*EVERYBODY, drifted], [*RECORDS, record("t0000-s3")])
    assert point.averaged is not None
    assert (point.averaged.checkpoint, point.averaged.can_win) == (("t0000-s2", 8), True)
    assert point.averaged.accuracy == point.mean == pytest.approx(0.65)
    assert point.row()["accuracies"] == [0.6, 0.7, 1.0]
    assert point.row().get("counted") == [True, True, False]
    assert point.row()["spread"] == pytest.approx(0.0707107, abs=1e-6)


def test_a_point_most_of_whose_seeds_guardrails_exclude_is_out() -> None:
    """Else a seed of 0.58 would stand for two that are excluded."""
    seeds = [
        candidate("t0000-s1", 8, 37, checks=DRIFTED),
        candidate("t0000-s2", 8, 23),
        candidate("t0000-s3", 8, 37, checks=DRIFTED),
    ]
    records = [record(f"t0000-s{number}") for number in (1, 2, 3)]
    [point] = confirmed(top(1), seeds, records)
    assert (point.averaged, point.mean, point.row()["mean"]) == (None, None, None)
    assert point.best is seeds[1], "it stays on disk: more seeds may come"
    [half] = confirmed(top(1), seeds[1:], records)
    assert half.mean == 0.575


def seeds_of(*correct: int, moved: float = -0.4) -> list[Candidate]:
    """Return new seeds with what eligibility lacks; the first is right on `correct[0]` of 40."""
    return [
        candidate(
            f"t0000-s{number}",
            8,
            right,
            violations={"moved": moved, "accuracy": (1 - (2 * right - PAIRS)) / PAIRS},
        )
        for number, right in enumerate(correct, 1)
    ]


def confirm_one(seeds: list[Candidate]) -> Any:
    records = [record(seed.trial) for seed in seeds]
    [point] = confirmed(top(1), seeds, records)
    return point


def test_a_seed_below_one_half_counts_as_what_it_is() -> None:
    """Else 0.45 and 0.6 would count as 0.6, and beat a point that is 0.575 twice."""
    point = confirm_one(seeds_of(18, 24))
    assert point.mean == point.averaged.accuracy == pytest.approx(0.525)
    assert (point.averaged.trial, point.averaged.can_win) == ("t0000-s2", True)
    assert point.row()["counted"] == [True, True]


def test_a_point_whose_seeds_are_not_above_one_half_on_average_cannot_win() -> None:
    point = confirm_one(seeds_of(16, 24))
    assert (point.mean, point.averaged.can_win) == (0.5, False)
    assert choose([point.averaged], GROUPS).winner is None


def test_a_seed_that_moved_too_little_counts_but_is_not_exported() -> None:
    [accurate], [moved, other] = seeds_of(30, moved=0.1), seeds_of(23, 24)
    point = confirm_one([accurate, replace(moved, trial="t0000-s2")])
    assert (point.mean, point.averaged.trial) == (pytest.approx(0.6625), "t0000-s2")
    assert point.averaged.can_win, "on average they moved the model"
    little = replace(accurate, violations={"moved": 0.5, "accuracy": -0.4})
    point = confirm_one([little, other])
    assert not point.averaged.can_win
    assert confirm_one([accurate]).averaged is None, "there is nothing to export"


def test_the_mean_of_a_point_that_is_worth_one_half_is_one_half() -> None:
    """Of 200 such points with three seeds, whatever the seeds scored."""
    correct = np.random.default_rng(0).binomial(PAIRS, 0.5, (200, 3)).tolist()
    means = [confirm_one(seeds_of(*seeds)).mean for seeds in correct]
    assert np.mean(means) == pytest.approx(0.5, abs=0.01)  # a standard error of 0.003


def test_when_confirmation_leaves_nothing_the_search_decides() -> None:
    [alone] = confirmed(
        top(1), [candidate("t0000-s3", 8, 40, checks=DRIFTED)], [record("t0000-s3")]
    )
    pools = candidate_pools([alone], EVERYBODY, RECORDS)
    assert [keys(pool) for pool in pools] == [[], keys(SEARCHED)]


def test_a_seed_that_never_got_there_is_listed_and_not_counted() -> None:
    failed = record("t0000-s3", status="failed", reason="nan", detail="step 6")
    everybody = [*EVERYBODY, candidate("t0000-s3", 4, 40)]
    seen = {p.original.trial: p for p in confirmed(top(), everybody, [*RECORDS, failed])}
    row = seen["t0000"].row()
    assert (row["seeds"], row["mean"]) == ([101, 102], pytest.approx(0.65))
    assert row["missing"] == [{"trial": "t0000-s3", "reason": "nan", "detail": "step 6"}]


def test_one_seed_has_a_mean_and_no_spread() -> None:
    [point] = confirmed(top(1), REPEATS[:2], RECORDS)
    assert (point.row()["mean"], point.row()["spread"]) == (0.6, None)


def test_when_no_new_seed_got_to_its_step_the_search_decides() -> None:
    failed = [record(f"{t}-s1", status="failed", reason="nan") for t in BETA]
    records = [*RECORDS[:3], *failed]
    # At another step than the one that was found, where its checkpoint is not kept.
    everybody = [*SEARCHED, candidate("t0000-s1", 4, 40)]
    points = confirmed(top(), everybody, records)
    for each in (points, []):
        pools = candidate_pools(each, everybody, records)
        assert [keys(pool) for pool in pools] == [[], keys(SEARCHED)]


@given(st.randoms(use_true_random=False))
def test_the_order_of_ledger_and_candidates_moves_nothing(random: Any) -> None:
    def rows_of(everybody: list[Candidate], records: list[TrialRecord]) -> list[dict[str, Any]]:
        points = finalists([c for c in everybody if "-s" not in c.trial], GROUPS, 3)
        return [p.row() for p in confirmed(points, everybody, records)]

    shuffled = random.sample(EVERYBODY, len(EVERYBODY)), random.sample(RECORDS, len(RECORDS))
    rows = rows_of(EVERYBODY, RECORDS)
    assert rows_of(*shuffled) == rows
    json.dumps(rows, allow_nan=False)


@pytest.mark.parametrize("sweep_seed", [0, 1, 2**40])
def test_new_seeds(sweep_seed: int) -> None:
    seeds = new_seeds(sweep_seed, 20)
    assert len({*seeds, sweep_seed}) == 21
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert new_seeds(sweep_seed, 3) == seeds[:3], "more seeds change none of the first"
    assert new_seeds(sweep_seed + 1, 20) != seeds


def test_new_seeds_are_the_same_for_ever() -> None:
    """A resumed sweep finds its trials by their seeds."""
    assert new_seeds(0, 3) == [1395115724, 156542938, 1274573599]


def test_a_seed_that_was_there_before_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([5, 7, 7, 5, 9])
    monkeypatch.setattr(
        "sweeps.selection.confirmation.hashlib.sha256",
        lambda _: SimpleNamespace(digest=lambda: next(drawn).to_bytes(4, "big")),
    )
    assert new_seeds(5, 2) == [7, 9]
