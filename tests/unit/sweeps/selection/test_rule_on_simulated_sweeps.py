"""Can the winner be trusted? Simulated sweeps, judged by the real choice; the bench runs more."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench import selection as bench_selection
from tests.bench.selection import TRIALS, draw, rows, sweeps


@pytest.fixture(scope="module")
def null() -> bench_selection.Sweeps:
    return sweeps([0.5] * TRIALS)


def test_sweeps_in_which_nothing_is_better_rarely_say_better(null) -> None:
    assert null.better <= 0.05


def test_the_reported_accuracy_is_the_true_one_and_the_maximum_is_not(null) -> None:
    assert abs(null.bias_points) <= 0.3
    assert null.naive_bias_points > 3, "the maximum of 30 equal trials on 500 pairs flatters"


def test_a_gain_of_five_points_is_seen_on_a_thousand_pairs() -> None:
    assert sweeps([0.55] * 3).better >= 0.8


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    found = sweeps([0.65] * 2, incumbent=0.6, repetitions=2000)
    assert 0.93 <= found.coverage <= 0.97
    assert 0.93 <= found.wilson_coverage <= 0.97


def test_ignoring_prompts_would_promise_too_much() -> None:
    """What makes the groups worth their trouble: ten pairs a prompt, each taken for a witness."""
    truth = {"accuracies": [0.5], "pairs_per_prompt": 10, "final": 500, "repetitions": 400}
    honest = sweeps(**truth)
    assert 0.92 <= honest.coverage <= 0.98
    assert 0.92 <= honest.wilson_coverage <= 0.98
    assert honest.naive_coverage < 0.88


def test_what_drifted_never_wins_however_good_it_looks() -> None:
    found = sweeps([0.6] * 9 + [0.8], drifted=[9], repetitions=50)
    assert found.drifted == 0
    assert sweeps([0.6] * 9 + [0.8], repetitions=50).truth.min() == 0.8, "it would have"


def test_policies_of_one_sweep_err_on_the_same_pairs() -> None:
    rng = np.random.default_rng(0)
    one, other = draw(rng, np.array([0.65, 0.65]), bench_selection._groups(4000, 2))
    assert one.mean() == pytest.approx(0.65, abs=0.03)
    assert 0.2 < np.corrcoef(one, other)[0, 1] < 0.5


def test_the_benchs_rows_judge_what_was_measured(null) -> None:
    small = sweeps([0.5, 0.5], repetitions=5)
    names = ("null", "null, incumbent", "gain", "gain, incumbent", "mixed", "coverage", "drifted")
    found = rows(dict.fromkeys(names, small))
    assert len({row.what for row in found}) >= 9
    assert all(row.ours is not None for row in found)
