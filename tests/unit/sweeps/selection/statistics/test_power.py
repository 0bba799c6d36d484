"""What so many pairs can show, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.selection.statistics import (
    Groups,
    compare,
    detectable_gain,
    fewest_groups,
    fewest_pairs,
    significance_level,
)
from tests.support.groups import alone


def test_detectable_gain_by_hand() -> None:
    # (1.959964 + 0.841621) · ½ / √200 = 2.801585 · 0.0353553 = 0.0990510: 9.9 points
    assert detectable_gain(alone(200)) == pytest.approx(0.0990510, abs=1e-7)
    # a quarter of the pairs, twice the gain
    assert detectable_gain(alone(50)) == pytest.approx(2 * 0.0990510, abs=1e-7)
    # over an incumbent: √0.1 instead of ½
    assert detectable_gain(alone(1000), 0.1) == pytest.approx(0.02801585, abs=1e-7)
    assert detectable_gain(alone(200), 0.1) == pytest.approx(0.0626453, abs=1e-7)


def test_groups_make_less_detectable() -> None:
    fours = Groups(np.arange(200) // 4)  # 1 + 3 · ½ = 2.5
    assert detectable_gain(fours) == pytest.approx(2.5**0.5 * 0.0990510, abs=1e-7)


def test_more_openings_ask_for_larger_gains() -> None:
    # z(1 − 0.025/10) + z(0.8) = 2.807034 + 0.841621 standard errors, with 30 3.143980 + 0.841621
    assert detectable_gain(alone(200), openings=10) == pytest.approx(0.1290, abs=1e-4)
    assert detectable_gain(alone(200), openings=30) == pytest.approx(0.1409, abs=1e-4)
    assert detectable_gain(alone(200), 0.1, 30) == pytest.approx(0.0891, abs=1e-4)
    assert fewest_pairs(alone(3), 0.1, 30) == 159
    # The p-value of n groups that all agree is 2 / 2ⁿ, and of 10 that is above 0.05 / 30.
    assert [fewest_groups(significance_level(n)) for n in (1, 10, 30)] == [6, 9, 11]


@pytest.mark.parametrize("openings", [10, 30])
def test_a_detectable_gain_is_shown_four_times_in_five(openings: int) -> None:
    groups = alone(200)
    gain = detectable_gain(groups, openings=openings)
    right = np.random.default_rng(1).random((400, 200)) < 0.5 + gain
    p_values = [comparison.p_value for comparison in compare(right - 0.5, groups)]
    shown = np.mean([openings * p_value < 0.05 for p_value in p_values])
    assert shown == pytest.approx(0.8, abs=0.06)  # three standard errors of 400 draws


def test_few_pairs_can_show_nothing() -> None:
    assert detectable_gain(alone(2)) is None
    assert detectable_gain(Groups(np.arange(250) // 50)) is None, "five groups"
    # 2.8² / 4 = 1.96 / ¼: of 7 pairs not even one that is right on all is shown in 80 % of cases
    assert detectable_gain(alone(7)) is None
    assert detectable_gain(alone(8)) == pytest.approx(0.4952551, abs=1e-6)
    # no gain exceeds the pairs that two policies rank differently: 2.8² / 0.1 = 78.5
    assert detectable_gain(alone(78), 0.1) is None
    assert detectable_gain(alone(79), 0.1) == pytest.approx(0.0996763, abs=1e-6)


@given(st.integers(8, 10**4))
def test_more_pairs_show_smaller_gains(pairs: int) -> None:
    assert detectable_gain(alone(pairs + 1)) < detectable_gain(alone(pairs))


def test_the_fewest_pairs_that_show_the_largest_gain() -> None:
    assert fewest_pairs(alone(3)) == 8
    assert fewest_pairs(alone(3), 0.1) == 79
    assert fewest_pairs(Groups(np.arange(200) // 4), 0.1) == 197  # 2.5 times as many
    assert fewest_pairs(Groups(np.arange(250) // 50)) == 300, "six groups"
    assert detectable_gain(alone(79), 0.1) is not None
