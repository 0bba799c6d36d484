"""Answers of two policies compared: how much longer, and how many more loop."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sweeps.run_dir.json_types import AnswerJson
from sweeps.selection.answer_comparison import AnswerComparison, compare_lengths, compare_loops
from sweeps.selection.statistics import Groups
from tests.support.recorded_answers import answers_at, groups_of_prompts

CAP = 512
MEANS = (20, 80, 150, 400)


def answers(lengths: np.ndarray, cap: int = CAP) -> list[AnswerJson]:
    """Return an answer of each length, cut at `cap` tokens."""
    return [
        {"text": "", "tokens": range(min(int(length), cap)), "ended": bool(length <= cap)}
        for length in lengths
    ]


def each_alone(count: int) -> Groups:
    return Groups(np.arange(count, dtype=np.int64))


def drawn(rng: np.random.Generator, mean: float, prompts: int) -> np.ndarray:
    """Draw lengths as varied as those of real answers: their standard deviation is 0.6 of the mean."""
    return np.ceil(rng.gamma(3.0, mean / 3.0, prompts))


def grown(comparison: AnswerComparison) -> bool:
    return comparison.value > 1.3 and comparison.bound > 1


def test_the_ratio_is_that_of_the_means_where_all_answers_end() -> None:
    compared = compare_lengths(
        answers(np.array([20, 40, 60])), answers(np.array([10, 20, 10])), each_alone(3)
    )
    assert compared.value == pytest.approx(3.0)
    assert compared.note.endswith("3 of 3 answers ended, the reference's 3")


def test_an_answer_that_was_cut_is_longer_than_what_is_there_of_it() -> None:
    reference = answers(np.full(20, 300.0))
    half_cut = answers(np.repeat([300.0, 900.0], 10))
    compared = compare_lengths(half_cut, reference, each_alone(20))
    assert compared.value > (300 + 900) / 2 / 300
    assert "10 of 20 answers ended" in compared.note


def test_no_answer_that_ends_says_nothing_beside_a_reference_that_never_ends() -> None:
    endless = answers(np.full(20, 900.0))
    assert not grown(compare_lengths(endless, endless, each_alone(20)))


def test_one_prompt_or_group_says_nothing() -> None:
    twice = compare_lengths(answers(np.array([60.0])), answers(np.array([10.0])), each_alone(1))
    assert (twice.value, twice.bound) == (pytest.approx(6.0), 0.0)
    group = Groups(np.zeros(9, dtype=np.int64))
    copies = compare_lengths(answers(np.full(9, 60.0)), answers(np.full(9, 10.0)), group)
    assert copies.bound == 0.0


def test_empty_answers_are_short_and_loop() -> None:
    empty, reference = answers(np.zeros(20)), answers(np.full(20, 50.0))
    assert compare_lengths(empty, reference, each_alone(20)).value < 0.1
    compared = compare_loops(empty, reference, each_alone(20))
    assert compared.value == 1.0
    assert compared.bound > 0.5


@pytest.mark.parametrize("mean", MEANS)
def test_an_unchanged_policy_is_called_longer_in_at_most_one_percent(mean: int) -> None:
    rng, draws, prompts = np.random.default_rng(mean), 1000, 64
    alarms = sum(
        grown(
            compare_lengths(
                answers(drawn(rng, mean, prompts)),
                answers(drawn(rng, mean, prompts)),
                each_alone(prompts),
            )
        )
        for _ in range(draws)
    )
    assert alarms <= 0.01 * draws


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("growth", [2, 5])
def test_answers_of_twice_the_length_are_noticed_whatever_the_length(
    mean: int, growth: float
) -> None:
    rng, draws, prompts = np.random.default_rng(mean), 50, 64
    noticed = sum(
        grown(
            compare_lengths(
                answers(growth * drawn(rng, mean, prompts)),
                answers(drawn(rng, mean, prompts)),
                each_alone(prompts),
            )
        )
        for _ in range(draws)
    )
    assert noticed >= 0.9 * draws


def looping(count: int, prompts: int, first: int = 0) -> list[AnswerJson]:
    """Return answers of which `count` loop, from number `first` on."""
    rows: list[AnswerJson] = []
    for number in range(prompts):
        is_loop = first <= number < first + count
        rows.append({"text": "", "tokens": [1, 2, 3, 4] * 25 if is_loop else range(100)})
    return rows


@pytest.mark.parametrize(
    ("own", "reference", "first", "is_more"),
    [
        (27, 7, 0, True),  # the recorded collapse, step 30
        (9, 7, 0, False),  # step 10
        (7, 7, 7, False),  # others loop, as many
        (4, 0, 0, False),  # 4 of 45 may be chance
        (45, 0, 0, True),
    ],
)
def test_loops_are_counted_against_those_of_the_reference(
    own: int, reference: int, first: int, is_more: bool
) -> None:
    compared = compare_loops(looping(own, 45, first), looping(reference, 45), each_alone(45))
    assert compared.value == pytest.approx((own - reference) / 45)
    assert (compared.value > 0.1 and compared.bound > 0) is is_more
    assert compared.note == f"{own} of 45 answers loop, the reference's {reference}"


@pytest.mark.parametrize("split", [None, "select"])
@pytest.mark.parametrize(("step", "collapsed"), [(10, False), (20, False), (30, True)])
def test_recorded_answers_that_collapsed_into_loops_are_noticed(
    step: int, collapsed: bool, split: str | None
) -> None:
    """The untouched model loops in 9 of 45 answers, the checkpoints in 7, 9 and 28."""
    groups = Groups.of(groups_of_prompts(split))
    compared = compare_loops(answers_at(step, split), answers_at(None, split), groups)
    assert (compared.value > 0.1 and compared.bound > 0) is collapsed


def test_recorded_answers_that_end_sooner_are_not_longer() -> None:
    """21 of the reference's 45 answers end within 128 tokens, 35 at step 20."""
    groups = Groups.of(groups_of_prompts())
    for step in (10, 20):
        assert not grown(compare_lengths(answers_at(step), answers_at(None), groups))
    assert compare_lengths(answers_at(20), answers_at(None), groups).value < 0.5


def test_copies_of_a_prompt_count_as_one() -> None:
    policy, reference = looping(24, 60), looping(0, 60)
    alone = compare_loops(policy, reference, each_alone(60))
    five_prompts = compare_loops(policy, reference, Groups(np.arange(60, dtype=np.int64) // 12))
    assert alone.bound > 0
    assert five_prompts.bound < alone.bound
    assert alone.value == five_prompts.value


def test_two_prompts_that_loop_are_no_certainty() -> None:
    assert compare_loops(looping(2, 2), looping(0, 2), each_alone(2)).bound < 0


@pytest.mark.parametrize("prompts", [15, 64])
def test_where_hardly_any_answer_ends_nothing_is_called_longer(prompts: int) -> None:
    """The mean is 4,000 tokens, so 12 % end: a jackknife alone gave up to 4 % alarms."""
    rng, draws = np.random.default_rng(0), 1000
    policies = (answers(rng.exponential(4000, prompts)) for _ in range(2 * draws))
    pairs = zip(policies, policies, strict=True)
    alarms = sum(grown(compare_lengths(*pair, each_alone(prompts))) for pair in pairs)
    assert alarms <= 0.01 * draws


@pytest.mark.parametrize(("prompts", "is_testable"), [(5, False), (6, False), (7, True)])
def test_few_prompts_are_said_to_be_untestable(prompts: int, is_testable: bool) -> None:
    """Of five prompts all may loop where none of the reference's does, and it may be chance."""
    compared = compare_loops(looping(0, prompts), looping(0, prompts), each_alone(prompts))
    assert compared.untestable == (
        ""
        if is_testable
        else f"untestable: of {prompts} prompt groups not even all that loop would be sure"
    )
    everyone = compare_loops(looping(prompts, prompts), looping(0, prompts), each_alone(prompts))
    assert (everyone.bound > 0) is is_testable


def test_answers_that_were_cut_before_a_loop_shows_are_said_to_be_untestable() -> None:
    cut: list[AnswerJson] = [{"text": "", "tokens": [5] * 26, "ended": False}] * 20
    compared = compare_loops(cut, looping(0, 20), each_alone(20))
    assert compared.untestable == (
        "untestable: 20 of 20 answers were cut below 27 tokens, where no loop can be seen; raise "
        "selection.sample_tokens"
    )
    ended: list[AnswerJson] = [{"text": "", "tokens": [5] * 26, "ended": True}] * 20
    assert not compare_loops(ended, looping(0, 20), each_alone(20)).untestable


def test_a_bound_is_finite_where_there_are_groups() -> None:
    assert math.isfinite(compare_loops(looping(3, 9), looping(0, 9), each_alone(9)).bound)
