"""Wilson's interval and the detectable gain, against arithmetic done by hand and scipy's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from dpo_core.evaluation.outcomes import Count
from sweeps.selection.statistics import detectable_gain, wilson_interval

counts = st.integers(1, 5000).flatmap(
    lambda total: st.integers(0, total).flatmap(
        lambda correct: st.integers(0, total - correct).map(lambda t: Count(correct, t, total))
    )
)


def test_wilson_by_hand() -> None:
    # 8 of 10, z = 1.959964, z² = 3.841459, 1 + z²/n = 1.3841459:
    # centre = (0.8 + 3.841459 / 20) / 1.3841459 = 0.9920729 / 1.3841459 = 0.7167401
    # half   = 1.959964 / 1.3841459 · √(0.16/10 + 3.841459/400)
    #        = 1.4160097 · √0.0256036 = 1.4160097 · 0.1600114 = 0.2265777
    assert wilson_interval(Count(8, 0, 10)) == pytest.approx((0.4901624, 0.9433178), abs=1e-6)


def test_wilson_of_all_and_of_none() -> None:
    # n of n: low = 1 / (1 + z²/n), high = 1; here 1 / 1.3841459 = 0.7224672
    assert wilson_interval(Count(10, 0, 10)) == pytest.approx((0.7224672, 1.0), abs=1e-6)
    assert wilson_interval(Count(0, 0, 10)) == pytest.approx((0.0, 0.2775328), abs=1e-6)
    assert wilson_interval(Count(0, 0, 0)) == (0.0, 1.0)


@given(counts.filter(lambda c: c.ties == 0), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_is_scipys(count: Count, confidence: float) -> None:
    theirs = binomtest(count.correct, count.total).proportion_ci(confidence, method="wilson")
    assert wilson_interval(count, confidence) == pytest.approx(tuple(theirs), abs=1e-9)


@given(counts)
def test_the_interval_holds_the_accuracy_and_stays_in_0_and_1(count: Count) -> None:
    low, high = wilson_interval(count)
    assert 0.0 <= low <= count.accuracy + 1e-12
    assert count.accuracy - 1e-12 <= high <= 1.0
    assert low < high


@given(counts)
def test_swapping_chosen_and_rejected_mirrors_the_interval(count: Count) -> None:
    low, high = wilson_interval(count)
    mirrored = Count(count.total - count.correct - count.ties, count.ties, count.total)
    assert wilson_interval(mirrored) == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_two_ties_are_worth_one_correct_pair() -> None:
    assert wilson_interval(Count(5, 2, 10)) == wilson_interval(Count(6, 0, 10))


def test_a_design_effect_is_so_many_fewer_pairs() -> None:
    assert wilson_interval(Count(40, 10, 100), design_effect=2.5) == pytest.approx(
        wilson_interval(Count(16, 4, 40))
    )


def test_detectable_gain_by_hand() -> None:
    # (1.959964 + 0.841621) · √(0.1 / 1000) = 2.801585 · 0.01 = 0.02801585: 2.8 points
    assert detectable_gain(1000) == pytest.approx(0.02801585, abs=1e-7)
    # a quarter of the pairs, twice the gain
    assert detectable_gain(250) == pytest.approx(2 * 0.02801585, abs=1e-7)
    # 5 % discordance: √½ of it
    assert detectable_gain(1000, discordance=0.05) == pytest.approx(0.01981020, abs=1e-7)
    # 90 % power: z = 1.959964 + 1.281552 = 3.241516
    assert detectable_gain(1000, power=0.9) == pytest.approx(0.03241516, abs=1e-7)


def test_no_gain_can_exceed_the_pairs_that_differ() -> None:
    assert detectable_gain(20) == 0.1  # 2.801585 · √(0.1 / 20) = 0.198 would need more
    assert detectable_gain(0) == 1.0


@given(st.integers(1, 10**6))
def test_more_pairs_show_smaller_gains(pairs: int) -> None:
    assert detectable_gain(pairs + 1) <= detectable_gain(pairs)
