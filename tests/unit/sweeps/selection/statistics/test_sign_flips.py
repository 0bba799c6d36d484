"""The sign-flip test: by hand, against exact tests of independent pairs, and its end of an interval."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from sweeps.selection.statistics import sign_flips
from sweeps.selection.statistics.sign_flips import (
    fewest_groups,
    sign_flip_p_values,
    smallest_shift_not_rejected,
)


def p_value(*sums: float) -> float:
    [found] = sign_flip_p_values(np.array([sums], dtype=np.float64))
    return float(found)


@pytest.mark.parametrize("groups", range(1, 14))
def test_when_all_signs_agree_no_other_signs_are_as_extreme(groups: int) -> None:
    assert p_value(*[0.5] * groups) == 2 / 2**groups
    assert p_value(*range(1, groups + 1)) == 2 / 2**groups, "whatever the sizes"
    assert (p_value(*[1.0] * groups) < 0.05) == (groups >= fewest_groups(0.05))


def test_totals_that_tie_count_half_by_hand() -> None:
    # 8 groups of ±1, one against: of 128 pairs of signs 1 has |8|, and 8 have |6|, with the observed.
    assert p_value(*[1.0] * 7, -1.0) == (1 + 7 / 2 + 1) / 128
    # The order of groups, and which policy is named first, do not matter.
    assert p_value(-1.0, *[1.0] * 7) == p_value(*[-1.0] * 7, 1.0) == 5.5 / 128


def test_groups_in_which_nothing_differs_tie_with_the_observed_signs() -> None:
    # 8 of 128 flips change only the three groups without a difference.
    assert p_value(*[1.0] * 5, 0.0, 0.0, 0.0) == (1 + 7 / 2) / 128


def test_a_large_group_decides_the_test() -> None:
    # Whoever has the large group wins: half of all signs are as extreme.
    assert p_value(10.0, 1, 1, 1, 1, 1, 1, 1) == 1 / 128
    assert p_value(10.0, -1, -1, -1, -1, -1, -1, -1) == 1.0


def test_no_difference_at_all() -> None:
    assert p_value(0.0, 0.0, 0.0) == 1.0
    assert p_value(1.0, -1.0) == 1.0
    assert p_value(*[0.0] * 30) == 1.0
    third = 1 / 3
    assert p_value(third, third, third, -1.0) == 1.0, "rounding is no difference"


def test_independent_pairs_have_the_binomials_mid_p() -> None:
    better, worse = 62, 38
    mid_p = 2 * (binom.sf(better, 100, 0.5) + binom.pmf(better, 100, 0.5) / 2)
    assert p_value(*[1.0] * better, *[-1.0] * worse) == pytest.approx(mid_p, abs=0.004)


def test_some_flips_agree_with_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = np.random.default_rng(0).normal(0.3, 1, (50, 13))
    every = sign_flip_p_values(sums)
    monkeypatch.setattr(sign_flips, "_EXACT_UP_TO", 11)
    assert sign_flip_p_values(sums) == pytest.approx(every, abs=0.06)


@pytest.mark.parametrize("groups", [13, 14, 100, 4095])
def test_flips_are_closed_and_no_two_groups_flip_together(groups: int) -> None:
    halves = np.concatenate(list(sign_flips._halves(groups))).astype(bool)
    assert len(halves) == 4096
    assert not halves[0].any()
    assert (halves[3] == (halves[1] ^ halves[2])).all()
    signs = 1.0 - 2 * halves[:, : min(groups, 200)]
    together = signs.T @ signs / 4096
    last = 1 if groups == 13 else 0  # where all halves are tried, the last group never flips
    assert (np.abs(together - np.eye(len(together)))[: len(together) - last] < 1e-12).all()


def test_of_very_many_groups_some_flip_together() -> None:
    sums = np.random.default_rng(0).choice([-0.5, 0.0, 0.5], (1, 5000), p=[0.18, 0.6, 0.22])
    z = abs(sums.sum()) / np.sqrt((sums**2).sum())
    assert sign_flip_p_values(sums)[0] == pytest.approx(2 * norm.sf(z), abs=0.003)


def test_beyond_all_flips_that_are_tried_the_normal_tail_says_how_rare() -> None:
    assert p_value(*[1.0] * 65, *[-1.0] * 5) == pytest.approx(2 * norm.sf(60 / 70**0.5))
    assert p_value(*[0.5] * 300) == pytest.approx(2 * norm.sf(300**0.5))
    assert p_value(*[0.5] * 16, *[0.0] * 20) >= 2 / 2**16, "no less than if all signs agree"


def test_flips_come_in_blocks_that_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = np.random.default_rng(0).normal(0.1, 1, (40, 20))
    whole = sign_flip_p_values(sums)
    monkeypatch.setattr(sign_flips, "_BLOCK", 30_050)
    assert [len(block) for block in sign_flips._halves(20)] == [1502, 1502, 1092]
    assert sign_flip_p_values(sums).tolist() == whole.tolist()


def test_rows_are_tested_as_if_alone_and_always_alike() -> None:
    sums = np.random.default_rng(0).normal(0.2, 1, (5, 40))
    apart = [sign_flip_p_values(row[None])[0] for row in sums]
    assert sign_flip_p_values(sums).tolist() == apart


@settings(max_examples=30, deadline=None)
@given(st.integers(6, 20), st.integers(0, 2**32 - 1))
def test_the_end_of_the_interval_is_where_the_test_stops_to_reject(groups: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 30, groups)
    sums = sizes * np.abs(rng.normal(1.0, 0.1, groups))  # surely significant
    end = smallest_shift_not_rejected(sums, sizes, 0.05)
    assert 0 < end < sums.sum() / sizes.sum()
    below, above = (sign_flip_p_values((sums - s * end * sizes)[None])[0] for s in (0.999, 1.001))
    assert below < 0.05
    assert above >= 0.05


def test_where_zero_is_the_end_but_rejected_the_end_is_the_next_above() -> None:
    # Half of the ties at 0 would be enough to reject it, and all of them are not.
    sums, sizes = np.array([1.0] * 5 + [0.0] * 3), np.array([2] * 8)
    assert p_value(*sums) < 0.05
    assert 0 < smallest_shift_not_rejected(sums, sizes, 0.05) < 0.2
