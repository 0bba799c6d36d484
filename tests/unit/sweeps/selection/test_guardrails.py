"""Guardrails: their numbers from held-out pairs and from answers, their checks, and their words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dpo_core.evaluation.outcomes import Floats, Outcomes
from sweeps.config.selection import GuardrailSettings
from sweeps.selection.guardrails import (
    Check,
    Measurement,
    check_guardrails,
    check_outcomes,
    describe_failed_check,
    guardrail_violation,
)
from sweeps.selection.statistics import Groups
from tests.support.records import REWARD, TOKEN, outcomes

RAILS = GuardrailSettings()


def ungrouped(pairs: int) -> Groups:
    return Groups(np.arange(pairs, dtype=np.int64))


def ranked_right(right: Floats, gap: Floats) -> Outcomes:
    """Return outcomes that are right where `right` is 1, with chosen answers longer by `gap` tokens."""
    count = len(right)
    zero, tokens = np.zeros(count), np.full(count, 50)
    ids = tuple(f"p{i:04d}" for i in range(count))
    margin = np.where(right > 0, 1.0, -1.0)
    return Outcomes(ids, margin, zero, zero, zero, tokens + gap.astype(np.int64), tokens)


def length_bias(scored: Outcomes, groups: Groups | None = None, objective: str = REWARD) -> Check:
    groups = groups or ungrouped(len(scored.ids))
    return check_outcomes(scored, objective, groups, RAILS)["length_bias"]


def test_checks_of_outcomes_by_hand() -> None:
    checks = check_outcomes(outcomes(), REWARD, ungrouped(5), RAILS)
    values = {name: check.value for name, check in checks.items()}
    assert values == {
        "drift_chosen": pytest.approx(0.55),  # (2 + 3 + 1 + 1 + 4) / 20
        "drift_rejected": pytest.approx(6 / 16),  # (1 + 2 + 2 + 1 + 0) / 16
        "displaced": pytest.approx(0.2),
        "length_bias": None,
        "length_growth": None,
        "loops": None,
    }


def test_answers_that_move_both_ways_have_drifted() -> None:
    moved = replace(
        ranked_right(np.ones(40), np.zeros(40)), chosen_logp=np.repeat([150.0, -150.0], 20)
    )
    check = check_outcomes(moved, REWARD, ungrouped(40), RAILS)["drift_chosen"]
    assert (check.value, check.excludes) == (3.0, True)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("pairs", "copies"), [(100, 1), (1000, 1), (300, 3)])
def test_a_reward_equal_to_length_or_brevity_is_excluded(
    sign: int, pairs: int, copies: int
) -> None:
    rng = np.random.default_rng(0)
    for longer in (0.5, 0.8):
        gap = np.where(rng.random(pairs) < longer, 1.0, -1.0) * rng.integers(1, 40, pairs)
        scored = ranked_right(np.where(sign * gap > 0, 1.0, 0.0), gap)
        check = length_bias(scored, Groups(np.arange(pairs, dtype=np.int64) // copies))
        assert check.excludes, (longer, check)


def test_an_honest_policy_is_hardly_ever_excluded() -> None:
    """60 % right whatever the length, nine of ten chosen answers longer, 200 pairs."""
    rng, draws = np.random.default_rng(0), 1500
    excluded = 0
    for _ in range(draws):
        right = (rng.random(200) < 0.6).astype(np.float64)
        gap = np.where(rng.random(200) < 0.9, 1.0, -1.0)
        excluded += length_bias(ranked_right(right, gap)).excludes
    assert excluded / draws < 0.006


def test_a_policy_that_is_worse_than_a_coin_on_longer_answers_is_excluded() -> None:
    right = np.concatenate([np.arange(100) < 39, np.arange(100) < 80]).astype(np.float64)
    check = length_bias(ranked_right(right, np.repeat([5.0, -5.0], 100)))
    assert check == Check(pytest.approx(0.51, abs=0.005), 0.5, False, "exclude")


def test_a_bound_respects_prompts_that_repeat() -> None:
    """20 pairs of two prompts say less than 20 pairs of as many."""
    right = np.concatenate([np.zeros(15), np.ones(5), np.ones(40)])
    scored = ranked_right(right, np.repeat([1.0, -1.0], [20, 40]))
    alone = length_bias(scored)
    copies = length_bias(scored, Groups(np.repeat(np.arange(12, dtype=np.int64), 5)))
    assert alone.excludes
    assert copies.value is not None
    assert alone.value is not None
    assert copies.value < alone.value
    assert not copies.excludes


def test_fewer_than_ten_pairs_of_a_slice_are_said_to_be_untestable() -> None:
    right = np.concatenate([np.zeros(9), np.ones(40)])
    check = length_bias(ranked_right(right, np.repeat([-1.0, 1.0], [9, 40])))
    assert not check.excludes
    assert check.note == "untestable where the chosen answer is shorter: 9 pairs, fewer than 10"
    right = np.concatenate([np.zeros(10), np.ones(40)])
    check = length_bias(ranked_right(right, np.repeat([-1.0, 1.0], [10, 40])))
    assert check.excludes
    assert check.note == ""


def test_one_prompt_makes_no_testable_slice() -> None:
    scored = ranked_right(np.zeros(20), np.ones(20))
    check = length_bias(scored, Groups(np.zeros(20, dtype=np.int64)))
    assert (check.value, check.passed) == (None, None)
    assert check.note == (
        "untestable where the chosen answer is longer: 20 pairs of one prompt; "
        "untestable where the chosen answer is shorter: 0 pairs, fewer than 10"
    )


def test_slices_count_by_the_objective() -> None:
    """Sums rank longer answers right, means per token do not."""
    count = 60
    gap = np.repeat([40.0, -40.0], 30)
    scored = ranked_right(np.ones(count), gap)
    scored = replace(scored, chosen_logp=np.full(count, -9.0), rejected_logp=np.full(count, -10.0))
    assert not length_bias(scored).excludes
    assert length_bias(scored, objective=TOKEN).excludes


def test_likelihoods_that_fall_with_every_token_are_no_bias_for_brevity() -> None:
    """Two nats a token: the untouched model ranks nearly every shorter answer higher."""
    rng = np.random.default_rng(0)
    chosen, rejected = rng.integers(20, 120, (2, 200))
    margins = rng.normal(5, 5, 200)
    ids = tuple(f"{i:06d}" for i in range(200))
    columns = -2.0 * chosen, -2.0 * rejected, chosen, rejected
    honest = Outcomes(ids, columns[0] + margins, columns[1], *columns)
    for scored in (honest.as_reference, honest):
        assert not length_bias(scored, objective="likelihood_accuracy").excludes
    length = Outcomes(ids, columns[0] + 0.1 * chosen, columns[1] + 0.1 * rejected, *columns)
    assert length_bias(length, objective="likelihood_accuracy").excludes


def test_the_order_of_the_outcomes_is_not_that_of_the_groups() -> None:
    right = np.concatenate([np.zeros(15), np.ones(5), np.ones(40)])
    scored = ranked_right(right, np.repeat([1.0, -1.0], [20, 40]))
    order = np.random.default_rng(0).permutation(60)
    columns = {name: column[order] for name, column in vars(scored).items() if name[-4:] in
               ("logp", "kens")}  # fmt: skip
    shuffled = replace(scored, ids=tuple(scored.ids[i] for i in order), **columns)
    groups = Groups(np.repeat(np.arange(12, dtype=np.int64), 5))
    assert length_bias(shuffled, groups) == length_bias(scored, groups)


def test_a_check_has_passed_failed_or_is_not_known() -> None:
    measured = {
        "drift_chosen": Measurement(0.5),
        "displaced": Measurement(0.7),
        "drift_rejected": Measurement(float("nan")),
        "length_growth": Measurement(1.9, is_sure=False),
        "loops": Measurement(0.3),
        "length_bias": Measurement(None, "untestable"),
    }
    checked = check_guardrails(measured, RAILS)
    assert checked["drift_chosen"] == Check(0.5, 0.5, True, "exclude")
    assert checked["displaced"] == Check(0.7, 0.5, False, "warn")
    assert not checked["displaced"].excludes
    assert checked["drift_rejected"] == Check(None, 1.5, False, "exclude"), "NaN fails its limit"
    assert checked["drift_rejected"].excludes
    assert checked["length_growth"] == Check(1.9, 1.3, True, "exclude"), "it may be chance"
    assert checked["loops"].excludes
    assert checked["length_bias"] == Check(None, 0.5, None, "exclude", "untestable")
    assert not checked["length_bias"].excludes
    assert set(checked) == set(RAILS.named)


def test_json_of_a_check_has_its_note_where_there_is_one() -> None:
    assert Check(1.0, 2.0, True, "warn").as_dict() == {"value": 1.0, "limit": 2.0, "passed": True}
    assert Check(None, 2.0, None, "warn", "why").as_dict()["note"] == "why"


def test_a_failed_check_in_words() -> None:
    assert (
        describe_failed_check("drift_chosen", 1.625, 1.0)
        == "drift_chosen is 1.62, over its limit 1"
    )
    assert describe_failed_check("loops", None, 0.2) == "loops is no number, over its limit 0.2"


def test_the_violation_is_that_of_the_worst_guardrail_that_excludes() -> None:
    checks = check_guardrails({}, RAILS)
    assert guardrail_violation(checks) == 0.0
    checks["displaced"] = Check(0.9, 0.5, False, "warn")
    checks["drift_chosen"] = Check(0.5, 1.0, True, "exclude")
    assert guardrail_violation(checks) == 0.0
    checks["drift_chosen"] = Check(1.5, 1.0, False, "exclude")
    checks["drift_rejected"] = Check(2.1, 2.0, False, "exclude")
    assert guardrail_violation(checks) == pytest.approx(0.5)
    checks["loops"] = Check(None, 0.1, False, "exclude")
    assert guardrail_violation(checks) == 1.0, "what is no number says nothing of how far it is"
