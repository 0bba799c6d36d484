"""The rule of the choice: by hand, and its properties on random candidates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.config.selection import GuardrailSettings
from sweeps.selection.guardrails import (
    Check,
    check_guardrails,
)
from sweeps.selection.ordering import ranked
from sweeps.selection.rule import Candidate, can_still_win, choose, runner_up
from sweeps.selection.statistics import Groups

PAIRS = 100
GROUPS = Groups(np.arange(PAIRS, dtype=np.int64) // 2)
BROKEN = {"drift_chosen": Check(9.0, 0.5, False, "exclude")}
WARNED = {"displaced": Check(0.9, 0.5, False, "warn")}


def candidate(trial: str, right: int, drift: float, step: int = 10, **changes) -> Candidate:
    """Return a candidate that is right on the first `right` of 100 pairs."""
    scores = (np.arange(PAIRS) < right).astype(np.float64)
    changes = {"checks": check_guardrails({}, GuardrailSettings()), **changes}
    return Candidate(trial, step, 0, {}, scores, -drift, drift, **changes)


def winner_of(*candidates: Candidate):
    winner = choose(candidates, GROUPS).winner
    return winner and winner.checkpoint


def test_a_clear_lead_wins_whatever_it_drifted() -> None:
    assert winner_of(candidate("t0000", 80, 0.4), candidate("t0001", 60, 0.1)) == ("t0000", 10)


def differing(won: int, lost: int) -> tuple[Candidate, Candidate]:
    """Return a candidate, and one that gained more and is wrong on `won` of its pairs, right on
    `lost` others; every pair is a group of its own."""
    right = np.arange(PAIRS) < 60
    other = right.copy()
    other[:won], other[60 : 60 + lost] = False, True
    fields = {"seed": 0, "point": {}, "drift": 0.1}
    return (
        Candidate("t0000", 10, scores=right.astype(float), chosen_gain=-0.2, **fields),
        Candidate("t0001", 10, scores=other.astype(float), chosen_gain=0.1, **fields),
    )


ALONE = Groups(np.arange(PAIRS, dtype=np.int64))


def test_within_a_fifth_of_a_standard_error_the_one_whose_chosen_answers_gained_most_wins() -> None:
    # 26 pairs lost and 24 won: a gap of 2 points, and a paired standard error of
    # √((50 − 2²/100) · 100/99) / 100 = 7.1 points, a fifth of which is 1.42.
    assert choose(differing(26, 24), ALONE).winner.trial == "t0000"


def test_one_pair_never_decides() -> None:
    # One pair of a hundred: a gap of 1 point, and a fifth of its standard error is 0.2.
    choice = choose(differing(1, 0), ALONE)
    assert choice.winner.trial == "t0001"
    assert [c.trial for c in choice.shortlist] == ["t0000", "t0001"]
    assert choose(differing(2, 0), ALONE).winner.trial == "t0000"


def test_a_fifth_of_a_large_standard_error_is_more_than_a_pair() -> None:
    # 400 pairs in 20 groups, whole groups right or wrong: half of 20 points is no 0.2 of them.
    groups = Groups(np.arange(400, dtype=np.int64) // 20)
    right = np.repeat(np.arange(20) < 12, 20).astype(float)
    other = np.repeat((np.arange(20) >= 3) & (np.arange(20) < 15), 20).astype(float)
    other[60:62] = 0.0  # three groups lost and three won, and two pairs lost
    fields = {"seed": 0, "point": {}, "drift": 0.1}
    one = Candidate("t0000", 10, scores=right, chosen_gain=-0.2, **fields)
    another = Candidate("t0001", 10, scores=other, chosen_gain=0.1, **fields)
    # The gap is half a point; the standard error √(6 · 20² · 20/19) / 400 = 12.6 points.
    assert choose([one, another], groups).winner is another
    assert choose([one, another], Groups(np.arange(400, dtype=np.int64))).winner is another
    other[62:70] = 0.0  # a gap of 2.5 points, within 0.2 · 12.7 = 2.5 of groups, beyond it of pairs
    another = Candidate("t0001", 10, scores=other, chosen_gain=0.1, **fields)
    assert choose([one, another], Groups(np.arange(400, dtype=np.int64))).winner is one


def test_only_the_pairs_on_which_they_differ_count() -> None:
    # The accuracies themselves have standard errors of 4.9 points each, a fifth of which is 1.0.
    assert choose(differing(3, 1), ALONE).winner.trial == "t0000"


@pytest.mark.parametrize("violations", [{"moved": 0.01}, {"moved": -0.5, "accuracy": 0.01}])
def test_what_is_not_eligible_cannot_win(violations) -> None:
    """It stays on the list of candidates, however accurate it looks."""
    untouched = candidate("t0000", 99, 0.0, violations=violations)
    moved = candidate("t0001", 60, 0.3, violations={"moved": 0.0, "accuracy": -0.2})
    assert not untouched.eligible
    assert untouched.admissible
    assert winner_of(untouched, moved) == ("t0001", 10)
    assert winner_of(untouched) is None
    assert can_still_win([untouched, moved], GROUPS, 1) == {("t0001", 10)}


def test_pairs_of_one_prompt_alone_give_no_standard_error() -> None:
    one = Groups(np.zeros(PAIRS, dtype=np.int64))
    candidates = [candidate("t0000", 80, 0.4), candidate("t0001", 78, 0.1)]
    choice = choose(candidates, one)
    assert [c.trial for c in choice.shortlist] == ["t0000"]
    assert choice.winner is choice.best is candidates[0]


def test_then_the_earlier_step_then_the_name() -> None:
    assert winner_of(candidate("t0000", 80, 0.1, step=20), candidate("t0001", 80, 0.1)) == (
        "t0001",
        10,
    )
    assert winner_of(candidate("t0001", 80, 0.1), candidate("t0000", 80, 0.1)) == ("t0000", 10)


def test_what_is_as_accurate_as_a_shortlisted_one_is_shortlisted() -> None:
    """Even where it differs from the best in fewer pairs, so that its own standard error is less."""
    tens = Groups(np.arange(PAIRS, dtype=np.int64) // 10)
    best = candidate("t0000", 60, 0.3)
    near = candidate("t0001", 70, 0.2)  # right on one group more, wrong on another: the gap of two
    near.scores[:12] = 0  # points is within a fifth of √(200 · 10/9) / 100 = 14.9
    between = candidate("t0002", 60, 0.1)
    between.scores[:2] = 0  # in one group: a standard error of 2.1 points
    assert choose([best, between], tens).winner is best
    assert choose([best, near, between], tens).winner is between


def test_what_a_guardrail_excludes_cannot_win() -> None:
    drifted = candidate("t0000", 99, 9.0, checks=BROKEN)
    honest = candidate("t0001", 60, 0.2, checks=WARNED)
    assert winner_of(drifted, honest) == ("t0001", 10)
    assert winner_of(drifted) is None
    assert choose([drifted], GROUPS).shortlist == ()


def test_the_runner_up_is_of_another_trial() -> None:
    everyone = [
        candidate("t0000", 80, 0.3),
        candidate("t0000", 79, 0.2, 5),
        candidate("t0001", 60, 0),
    ]
    choice = choose(everyone, GROUPS)
    assert runner_up(choice, everyone, GROUPS).checkpoint == ("t0001", 10)
    assert runner_up(choose(everyone[:2], GROUPS), everyone[:2], GROUPS) is None


fields = st.lists(
    st.tuples(st.integers(0, 7), st.sampled_from([0.0, 0.1, 0.2, 0.3]), st.booleans()),
    min_size=1,
    max_size=9,
)


def candidates_of(rows, seed: int = 0) -> list[Candidate]:
    """Return candidates, each of them right on about 50 to 85 % of the pairs, at random."""
    candidates = []
    for number, (skill, drift, over) in enumerate(rows):
        rng = np.random.default_rng((seed, number))
        scores = (rng.random(PAIRS) < 0.5 + skill / 20).astype(np.float64)
        candidates.append(
            Candidate(
                f"t{number // 2:04d}",
                1 + number % 2,
                0,
                {},
                scores,
                -drift,
                drift,
                {},
                BROKEN if over else {},
            )
        )
    return candidates


@settings(deadline=None)
@given(fields, st.randoms(use_true_random=False), st.integers(0, 99))
def test_the_order_moves_nothing(rows, random, seed) -> None:
    everyone = candidates_of(rows, seed)
    shuffled = random.sample(everyone, len(everyone))
    one, other = choose(everyone, GROUPS), choose(shuffled, GROUPS)
    assert [c.checkpoint for c in one.shortlist] == [c.checkpoint for c in other.shortlist]
    assert (one.winner and one.winner.checkpoint) == (other.winner and other.winner.checkpoint)
    assert [c.checkpoint for c in ranked(everyone)] == [c.checkpoint for c in ranked(shuffled)]
    assert can_still_win(everyone, GROUPS, 2) == can_still_win(shuffled, GROUPS, 2)


@settings(deadline=None)
@given(fields, st.integers(0, 99))
def test_the_winner_is_admissible_and_on_the_front(rows, seed) -> None:
    everyone = candidates_of(rows, seed)
    winner = choose(everyone, GROUPS).winner
    admissible = [c for c in everyone if c.admissible]
    assert (winner is None) == (not admissible)
    for other in admissible:
        assert other.accuracy < winner.accuracy or other.chosen_gain <= winner.chosen_gain


@settings(deadline=None)
@given(fields, st.integers(0, 99), st.integers(1, 3))
def test_whatever_wins_in_the_end_was_never_cleared(rows, seed, spares) -> None:
    """Candidates come one by one; what is cleared once is gone."""
    everyone = candidates_of(rows, seed)
    kept: set = set()
    for number in range(1, len(everyone) + 1):
        kept |= {everyone[number - 1].checkpoint}
        kept &= can_still_win(everyone[:number], GROUPS, spares)
    winner = choose(everyone, GROUPS).winner
    assert winner is None or winner.checkpoint in kept


@pytest.mark.parametrize(("best", "kept"), [(56, True), (57, False)])
def test_what_a_later_maximum_can_still_reach_by_hand(best: int, kept: bool) -> None:
    # 25 groups of four. A fair coin a group: ½ · √(25 · 4²) / 100 = 10 points. The standard error of
    # 52 right, which are 13 whole groups: √((13 · 1.92² + 12 · 2.08²) · 25/24) / 100 = 10.2 points.
    # A fifth of both is 4.04 points.
    fours = Groups(np.arange(PAIRS, dtype=np.int64) // 4)
    candidates = [candidate("t0000", best, 0.4), candidate("t0001", 52, 0.1)]
    assert (("t0001", 10) in can_still_win(candidates, fours, 1)) == kept


@pytest.mark.parametrize(("best", "kept"), [(55, True), (56, False)])
def test_with_one_prompt_only_its_coin_bounds_what_can_win(best: int, kept: bool) -> None:
    one = Groups(np.zeros(PAIRS, dtype=np.int64))  # ½ · √(100²) / 100 = 50 points, a fifth is 10
    candidates = [candidate("t0000", best, 0.4), candidate("t0001", 45, 0.1)]
    assert (("t0001", 10) in can_still_win(candidates, one, 1)) == kept


def test_the_next_choices_are_kept_too() -> None:
    everyone = [candidate(f"t{i:04d}", 90 - 10 * i, 0.1 + i) for i in range(5)]
    kept = can_still_win(everyone, GROUPS, 3)
    assert kept == {("t0000", 10), ("t0001", 10), ("t0002", 10)}
    assert can_still_win([], GROUPS, 3) == set()
