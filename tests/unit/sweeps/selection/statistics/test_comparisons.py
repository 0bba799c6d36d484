"""Comparisons: what a few pairs must not prove, and an interval that agrees with its p-value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from sweeps.selection.statistics import Groups, accuracy_intervals, compare, holm
from tests.support.groups import alone, rows


def test_five_groups_can_show_nothing() -> None:
    groups = Groups(np.repeat(np.arange(5), 50))
    [found] = compare(rows([0.5] * 250), groups)
    assert found.p_value == 2 / 32
    assert found.interval[0] < 0.0
    assert found.interval[1] == 0.5


def test_six_pairs_that_agree_are_the_fewest_that_show_something() -> None:
    [found] = compare(rows([0.5] * 6), alone(6))
    assert found.p_value == 2 / 64
    # Clopper and Pearson's lower end is 54.1 %, less the reference's 50
    assert found.interval == pytest.approx((0.025 ** (1 / 6) - 0.5, 0.5))


def test_a_hundred_pairs_of_three_prompts_are_three_witnesses() -> None:
    differences = rows([0.5] * 99)
    [apart], [together] = (
        compare(differences, groups) for groups in (alone(99), Groups.of(list("abc") * 33))
    )
    assert apart.p_value < 1e-6
    assert together.p_value == pytest.approx(0.25)  # exact: 2 · ½³


def test_against_the_reference_the_interval_is_that_of_the_accuracy() -> None:
    scores = np.random.default_rng(0).choice([0.0, 0.5, 1.0], (1, 200), p=[0.2, 0.2, 0.6])
    groups = Groups(np.arange(200) // 4)
    [found] = compare(scores - 0.5, groups)
    assert found.p_value < 0.05
    assert found.interval == pytest.approx(accuracy_intervals(scores, groups)[0] - 0.5)
    assert found.difference == pytest.approx(scores.mean() - 0.5)
    assert found.as_dict() == {
        "difference": found.difference,
        "interval": list(found.interval),
        "p_value": found.p_value,
    }


def test_no_difference_at_all() -> None:
    [found] = compare(np.zeros((1, 8)), alone(8))
    assert (found.difference, found.interval, found.p_value) == (0.0, (0.0, 0.0), 1.0)


differences_in_groups = st.tuples(
    st.lists(st.sampled_from([-1.0, -0.5, -1 / 3, 0.0, 0.5, 1.0]), min_size=12, max_size=60),
    st.integers(1, 6),
    st.floats(-0.6, 0.6),
)


@settings(max_examples=150, deadline=None)
@given(differences_in_groups)
def test_interval_and_p_value_agree(case) -> None:
    values, of_group, shift = case
    differences = rows(np.clip(np.array(values) + shift, -1, 1))
    groups = Groups(np.arange(len(values)) // of_group)
    [found], [mirrored] = compare(differences, groups), compare(-differences, groups)
    low, high = found.interval
    assert low <= found.difference <= high
    assert -1 <= low <= high <= 1
    assert (found.p_value < 0.05) == (low > 0 or high < 0)
    assert mirrored.p_value == found.p_value
    assert mirrored.interval == pytest.approx((-high, -low), abs=1e-9)


def test_where_test_and_interval_disagree_the_end_is_the_tests() -> None:
    # Five of eight groups, all in favour: mid-p 0.035, and an interval of few groups that holds 0.
    differences, groups = rows([1.0, 0] * 5 + [0.0] * 6), Groups(np.arange(16) // 2)
    as_scores = (differences + 1) / 2
    assert accuracy_intervals(as_scores, groups)[0, 0] < 0.5
    [found] = compare(differences, groups)
    assert found.p_value == 4.5 / 128
    assert 0 < found.interval[0] < 0.2
    # Of seven groups of fifty one is against: the interval alone would begin at 0.005.
    right = [21, 47, 38, 39, 25, 36, 40]
    scores = np.concatenate([np.repeat([1.0, 0.0], [r, 50 - r]) for r in right])[None]
    fifties = Groups(np.repeat(np.arange(7), 50))
    assert accuracy_intervals(scores, fifties)[0, 0] > 0.5
    [found] = compare(scores - 0.5, fifties)
    assert found.p_value == 3.5 / 64
    assert found.interval[0] == 0.0


def test_rows_are_compared_as_if_alone() -> None:
    both = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], (2, 50))
    assert compare(both, alone(50)) == [compare(row[None], alone(50))[0] for row in both]


def test_a_clear_difference_survives_the_correction_for_many_candidates() -> None:
    rng = np.random.default_rng(0)
    clear = rng.choice([-0.5, 0.5], 1000, p=[0.38, 0.62])
    [found] = compare(clear[None], alone(1000))
    assert found.p_value < 1e-6
    assert holm([found.p_value] + [0.5] * 199)[0] < 0.001


def test_holm_by_hand() -> None:
    # sorted: 0.01·3 = 0.03, then max(0.03, 0.02·2) = 0.04, then max(0.04, 0.5·1) = 0.5
    assert holm([0.02, 0.5, 0.01]) == pytest.approx([0.04, 0.5, 0.03])
    assert holm([]) == []


@settings(deadline=None)  # statsmodels collects garbage
@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_is_statsmodels(p_values: list[float]) -> None:
    theirs = multipletests(p_values, method="holm")[1].tolist() if p_values else []
    assert holm(p_values) == pytest.approx(theirs)
