"""Groups of pairs, and the standard errors that they leave, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sweeps.selection.statistics import CORRELATION, Groups, standard_errors
from tests.support.groups import alone, rows


def test_groups_are_summed_wherever_their_pairs_stand() -> None:
    groups = Groups.of(["b", "a", "b", "c"])
    assert groups.sizes.tolist() == [1, 2, 1]
    assert groups.sums(rows([1, 2, 3, 4], [0, 0, 1, 1])).tolist() == [[2, 4, 4], [0, 1, 1]]


def test_the_standard_error_by_hand() -> None:
    # Mean ½, residuals ±½, four groups of one: √(4 · ¼ · 4/3) / 4
    assert standard_errors(rows([1, 1, 0, 0]), alone(4)) == pytest.approx((4 / 3) ** 0.5 / 4)
    # Pairs of one prompt that agree are half as many: two groups with residuals ±1: √(2 · 2/1) / 4
    assert standard_errors(rows([1, 1, 0, 0]), Groups.of(list("aabb"))) == pytest.approx(0.5)
    # ... and two that cancel each other say that nothing varies.
    assert standard_errors(rows([1, 0, 1, 0]), Groups.of(list("aabb"))).tolist() == [0.0]


def test_each_row_has_the_standard_error_of_its_own_mean() -> None:
    both = rows([1, 1, 0, 0], [1, 1, 1, 0.5])
    alone_each = [standard_errors(row[None], alone(4))[0] for row in both]
    assert standard_errors(both, alone(4)).tolist() == alone_each


def test_huge_groups_have_the_standard_error_of_leaving_them_out() -> None:
    # Means without each group: (0 + 1)/2 = ½ without the 6, (6·1 + 1)/7 = 1, (6·1 + 0)/7 = 6/7;
    # their mean is 33/42, so the jackknife has 2/3 · ((12/42)² + (9/42)² + (3/42)²).
    values, groups = rows([1] * 6 + [0, 1]), Groups.of(list("aaaaaabc"))
    without = np.array([1 / 2, 1.0, 6 / 7])
    by_hand = (2 / 3 * ((without - values.mean()) ** 2).sum()) ** 0.5
    assert standard_errors(values, groups) == pytest.approx(by_hand)


def test_the_size_of_the_groups_by_hand() -> None:
    groups = Groups.of(list("aaab"))
    assert groups.mean_size_over_pairs == (3 + 3 + 3 + 1) / 4
    assert groups.design_effect(0.2) == pytest.approx(1.3)
    assert groups.design_effect() == 1 + 1.5 * CORRELATION
    assert alone(9).design_effect() == 1.0


def test_a_single_group_knows_no_error() -> None:
    assert np.isinf(standard_errors(rows([1, 0]), Groups.of(["a", "a"]))).all()


def test_groups_of_a_slice_are_numbered_again() -> None:
    groups = Groups.of(list("bacab"))
    mask = np.array([True, False, True, False, True])
    assert groups.where(mask).sizes.tolist() == [2, 1]
    assert groups.where(mask).codes.tolist() == [0, 1, 0]
