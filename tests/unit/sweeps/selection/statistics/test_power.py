"""What so many pairs can show, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.selection.statistics import Groups, detectable_gain, fewest_pairs
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
