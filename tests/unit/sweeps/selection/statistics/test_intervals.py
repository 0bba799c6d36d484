"""Intervals of one accuracy: exact ones of independent pairs, copies, ties, ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binomtest

from sweeps.selection.statistics import Groups, accuracy_intervals
from tests.support.groups import alone, rows

right_and_all = st.integers(2, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(right_and_all)
def test_independent_pairs_have_clopper_and_pearsons_exact_interval(counts) -> None:
    right, pairs = counts
    scores = rows([1.0] * right + [0.0] * (pairs - right))
    theirs = binomtest(right, pairs).proportion_ci(0.95, method="exact")
    assert accuracy_intervals(scores, alone(pairs))[0] == pytest.approx(tuple(theirs), abs=1e-9)


@given(right_and_all)
def test_copies_that_agree_are_one_pair(counts) -> None:
    right, prompts = counts
    once = rows([1.0] * right + [0.0] * (prompts - right))
    copied = np.repeat(once, 5, axis=1)
    five_each = Groups(np.repeat(np.arange(prompts), 5))
    one, other = accuracy_intervals(once, alone(prompts)), accuracy_intervals(copied, five_each)
    if 5 < right < prompts - 5:
        # Clopper and Pearson's interval of slightly fewer than so many prompts.
        assert other[0] == pytest.approx(one[0], abs=0.02 if prompts > 50 else 0.08)
    assert (other[0, 1] - other[0, 0]) > 0.55 * (one[0, 1] - one[0, 0])


def test_right_everywhere_is_no_certainty() -> None:
    scores = np.ones((1, 100))
    [[apart, one]] = accuracy_intervals(scores, alone(100))
    assert (apart, one) == pytest.approx(
        (0.025 ** (1 / 100), 1.0)
    )  # as many as Clopper and Pearson
    [[grouped, one]] = accuracy_intervals(scores, Groups(np.repeat(np.arange(10), 10)))
    # Of ten groups of ten that correlate by ½ are as good as 100 / 5.5 pairs, and fewer by t.
    assert one == 1.0
    assert beta.ppf(0.025, 10, 1) < grouped < beta.ppf(0.025, 100 / 5.5, 1)


def test_ties_say_more_than_coin_tosses() -> None:
    scores = rows([1.0] * 30 + [0.0] * 30 + [0.5] * 140, [1.0] * 100 + [0.0] * 100)
    widths = np.ptp(accuracy_intervals(scores, alone(200)), axis=1)
    # The spread is that of 60 pairs of 200: √0.3 of the width
    assert widths[0] / widths[1] == pytest.approx(0.3**0.5, rel=0.05)


def test_nothing_but_ties_is_no_certainty() -> None:
    [[low, high]] = accuracy_intervals(np.full((1, 100), 0.5), alone(100))
    assert 0.005 < 0.5 - low < 0.03
    assert high - 0.5 == pytest.approx(0.5 - low)


def test_one_group_says_nothing() -> None:
    assert accuracy_intervals(rows([1, 1, 0]), Groups.of(list("aaa"))).tolist() == [[0.0, 1.0]]
    assert accuracy_intervals(rows([1]), alone(1)).tolist() == [[0.0, 1.0]]
    assert accuracy_intervals(np.ones((1, 0)), alone(0)).tolist() == [[0.0, 1.0]]


scores_of_50 = st.lists(st.sampled_from([0.0, 1 / 3, 0.5, 1.0]), min_size=50, max_size=50)


@given(scores_of_50, st.integers(1, 10))
def test_an_interval_holds_the_accuracy_and_is_mirrored_with_it(scores, of_group: int) -> None:
    groups = Groups(np.arange(50) // of_group)
    [[low, high]] = accuracy_intervals(rows(scores), groups)
    assert 0.0 <= low <= np.mean(scores) + 1e-12
    assert np.mean(scores) - 1e-12 <= high <= 1.0
    assert low < high
    [mirrored] = accuracy_intervals(1 - rows(scores), groups)
    assert mirrored == pytest.approx([1 - high, 1 - low], abs=1e-9)


def test_more_confidence_is_a_wider_interval() -> None:
    scores = rows([1.0] * 30 + [0.0] * 10)
    theirs = binomtest(30, 40).proportion_ci(0.8, method="exact")
    assert accuracy_intervals(scores, alone(40), 0.8)[0] == pytest.approx(tuple(theirs))
