"""Guardrails: their numbers from held-out pairs, their checks, and how a failed one is described."""

from __future__ import annotations

import pytest

from sweeps.config.selection import GuardrailSettings
from sweeps.selection.guardrails import (
    Check,
    add_answer_checks,
    check_guardrails,
    describe_failed_check,
    offline_values,
)
from tests.support.records import REWARD, outcomes

RAILS = GuardrailSettings()


def test_offline_values_by_hand() -> None:
    assert offline_values(outcomes(), REWARD) == pytest.approx(
        {
            "drift_chosen": 0.05,
            "drift_rejected": 0.125,
            "displaced": 0.2,
            "length_controlled_loss": 0.5 - 0.625,
        }
    )


def test_a_check_has_passed_failed_or_is_not_known() -> None:
    checked = check_guardrails(
        {"drift_chosen": 1.0, "displaced": 0.7, "repetition": float("nan")}, RAILS
    )
    assert checked["drift_chosen"] == Check(1.0, 1.0, True, "exclude")
    assert checked["displaced"] == Check(0.7, 0.5, False, "warn")
    assert not checked["displaced"].excludes
    assert checked["repetition"] == Check(None, 0.2, False, "exclude"), "NaN fails its limit"
    assert checked["repetition"].excludes
    assert checked["length_growth"] == Check(None, 1.5, None, "exclude")
    assert not checked["length_growth"].excludes
    assert set(checked) == set(RAILS.named)


def test_a_failed_check_in_words() -> None:
    assert (
        describe_failed_check("drift_chosen", 1.625, 1.0)
        == "drift_chosen is 1.62, over its limit 1"
    )
    assert (
        describe_failed_check("repetition", None, 0.2)
        == "repetition is no number, over its limit 0.2"
    )


def test_checks_on_answers_are_added_to_those_on_pairs() -> None:
    checks = check_guardrails({"drift_chosen": 2.0}, RAILS)
    assert checks["drift_chosen"] == Check(2.0, 1.0, False, "exclude")
    answers = [[1, 2, 3, 4, 5, 6], [1, 2, 3, 1, 2, 3]]  # ¼ of the second one's 3-grams are repeated
    reference = [[1, 2, 3], [4, 5, 6, 7, 8]]
    completed = add_answer_checks(checks, answers, reference, RAILS)
    assert completed == {
        **checks,
        "length_growth": Check(1.5, 1.5, True, "exclude"),  # 12 tokens against 8
        "repetition": Check(0.125, 0.2, True, "exclude"),  # (0 + ¼) / 2
    }
    strict = GuardrailSettings(repetition={"limit": 0.1, "action": "warn"})
    assert add_answer_checks(checks, answers, reference, strict)["repetition"] == Check(
        0.125, 0.1, False, "warn"
    )
