"""Statistics over prompt groups: by hand, against scipy, and what a few pairs must not prove."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap, norm

from dpo_core.evaluation.outcomes import Count
from sweeps.selection import statistics
from sweeps.selection.statistics import (
    RESAMPLES,
    Groups,
    compare,
    design_effect,
    detectable_gain,
    holm,
    mcnemar,
    standard_errors,
    wilson_interval,
)


def alone(pairs: int) -> Groups:
    return Groups(np.arange(pairs, dtype=np.int64))


def rows(*values: list[float]) -> np.ndarray:
    return np.array(values, dtype=np.float64)


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


def test_the_design_effect_by_hand() -> None:
    # Two prompts of two equal pairs: error ½ as above, independent pairs' ½/√4: (½ / ¼)².
    assert design_effect(np.array([1.0, 1, 0, 0]), Groups.of(list("aabb"))) == pytest.approx(4.0)
    assert design_effect(np.array([1.0, 0, 1, 0]), Groups.of(list("aabb"))) == 1.0
    assert design_effect(np.array([1.0, 1, 1]), alone(3)) == 1.0, "nothing varies"
    assert design_effect(np.array([1.0, 0]), Groups.of(["a", "a"])) == 1.0, "one group"


def test_a_single_group_knows_no_error() -> None:
    assert np.isinf(standard_errors(rows([1, 0]), Groups.of(["a", "a"]))).all()


def test_the_bootstraps_spread_is_the_standard_error() -> None:
    rng = np.random.default_rng(0)
    groups = Groups(rng.integers(0, 150, 400))
    groups = Groups.of(groups.codes.astype(str).tolist())
    differences = rng.choice([-1.0, 0.0, 1.0], 400, p=[0.2, 0.5, 0.3])[None]
    [found] = compare(differences, groups)
    error = standard_errors(differences, groups)[0]
    assert found.interval[1] - found.interval[0] == pytest.approx(2 * 1.96 * error, rel=0.05)
    assert sum(found.interval) / 2 == pytest.approx(found.difference, abs=0.1 * error)


def test_without_groups_the_interval_is_scipys() -> None:
    differences = np.random.default_rng(1).choice([-1.0, 0.0, 1.0], 500, p=[0.15, 0.6, 0.25])
    [found] = compare(differences[None], alone(500))
    theirs = bootstrap(
        (differences,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=2
    ).confidence_interval
    assert found.interval == pytest.approx(tuple(theirs), abs=0.006)
    assert found.difference == differences.mean()


def naive_bootstrap(sums: np.ndarray, sizes: np.ndarray, seed: int) -> np.ndarray:
    """Return the mean of each resample, whose groups are picked one by one, (RESAMPLES,)."""
    picked = np.random.default_rng(seed).integers(0, len(sums), (RESAMPLES, len(sums)))
    return sums[picked].sum(axis=1) / sizes[picked].sum(axis=1)


@pytest.mark.parametrize("seed", [0, 3])
def test_the_bootstrap_picks_groups_and_one_imagined_pair_each_way(seed: int) -> None:
    groups = Groups(np.repeat(np.arange(40), 2))
    differences = np.repeat([1.0] * 24 + [-1.0] * 13 + [0.0] * 3, 2)
    means = naive_bootstrap(
        np.append(groups.sums(differences[None])[0], [1.0, -1.0]),
        np.append(groups.sizes, [1, 1]),
        seed,
    )
    beyond = min((means <= 0).sum(), (means >= 0).sum())
    assert beyond > 10, "the normal tail plays no part"
    [found] = compare(differences[None], groups, seed)
    assert found.p_value == pytest.approx(2 * (beyond + 1) / (RESAMPLES + 1))
    assert found.interval == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    assert found.difference == pytest.approx(11 / 40)


def test_beyond_all_resamples_the_normal_tail_says_how_rare() -> None:
    differences = rows([1.0] * 60 + [-1.0] * 10)
    means = naive_bootstrap(np.append(differences[0], [1.0, -1.0]), np.ones(72), seed=0)
    assert (means > 0).all()
    clearer = rows([1.0] * 65 + [-1.0] * 5)
    found, clearest = compare(np.concatenate([differences, clearer]), alone(70))
    assert found.p_value == pytest.approx(2 * norm.sf(means.mean() / means.std()))
    assert found.p_value < 2 / (RESAMPLES + 1)
    assert compare(clearer, alone(70)) == [clearest]
    assert found.as_dict() == {
        "difference": 50 / 70,
        "interval": list(found.interval),
        "p_value": found.p_value,
    }


def test_the_seed_of_the_bootstrap_is_0_by_default() -> None:
    differences = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], (1, 50))
    assert compare(differences, alone(50)) == compare(differences, alone(50), seed=0)
    assert compare(differences, alone(50)) != compare(differences, alone(50), seed=1)


def test_resamples_come_in_blocks_that_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_BLOCK", 3_005)
    blocks = list(statistics._weights(10, seed=0))
    assert [len(block) for block in blocks] == [300] * 13 + [100]
    assert all((block.sum(axis=1) == 10).all() for block in blocks), "as many as there are groups"
    assert (np.concatenate(blocks).mean(axis=0) > 0.9).all(), "each group is drawn, the first too"


@pytest.mark.parametrize(("better", "worse", "exact"), [(13, 12, False), (13, 11, True)])
def test_with_25_groups_that_differ_the_bootstrap_is_enough(
    better: int, worse: int, exact: bool
) -> None:
    differences = rows([1.0] * better + [-1.0] * worse)
    [found] = compare(differences, alone(better + worse))
    assert mcnemar(better, worse) > 0.8
    assert (found.p_value >= mcnemar(better, worse)) == exact


@pytest.mark.parametrize(("better", "worse"), [(5, 0), (9, 1), (3, 3), (0, 8)])
def test_few_that_differ_are_held_to_mcnemars_exact_test(better: int, worse: int) -> None:
    exact = binomtest(better, better + worse).pvalue
    assert mcnemar(better, worse) == pytest.approx(exact)
    differences = rows([1.0] * better + [-1.0] * worse + [0.0] * 20)
    [found] = compare(differences, alone(differences.shape[1]))
    assert found.p_value >= exact - 1e-12


def test_five_pairs_that_agree_prove_nothing() -> None:
    [found] = compare(rows([0.5] * 5), alone(5))
    assert found.p_value == pytest.approx(2 / 32)
    assert found.interval[0] < 0.25, "certainty would be an interval of no width"


def test_a_hundred_pairs_of_three_prompts_are_three_witnesses() -> None:
    differences = rows([0.5] * 99)
    [apart], [together] = (
        compare(differences, groups) for groups in (alone(99), Groups.of(list("abc") * 33))
    )
    assert apart.p_value < 0.001
    assert together.p_value == pytest.approx(0.25)  # exact: 2 · ½³


def test_no_difference_at_all() -> None:
    [found] = compare(np.zeros((1, 8)), alone(8))
    assert (found.difference, found.interval, found.p_value) == (0.0, (0.0, 0.0), 1.0)


signs = st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), min_size=60, max_size=90)


@settings(max_examples=15, deadline=None)
@given(signs)
def test_swapping_the_two_policies_mirrors_everything(differences: list[float]) -> None:
    [one], [other] = (compare(s * rows(differences), alone(len(differences))) for s in (1, -1))
    assert one.difference == -other.difference
    assert one.interval == pytest.approx([-other.interval[1], -other.interval[0]], abs=0.03)
    assert one.p_value == pytest.approx(other.p_value, abs=0.06)


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
