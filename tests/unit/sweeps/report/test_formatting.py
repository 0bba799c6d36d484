"""Tests of how numbers are written in a report."""

from __future__ import annotations

import pytest

from sweeps.report import formatting
from sweeps.report.formatting import MISSING


def test_shares_are_in_per_cent() -> None:
    assert formatting.percent(0.1234) == "12.3 %"
    assert formatting.percent_interval((0.5, 1.0)) == "50.0 to 100.0 %"


def test_differences_have_a_sign() -> None:
    assert formatting.percentage_points(0.05) == "+5.0 points"
    assert formatting.percentage_points(-0.05) == "−5.0 points"
    assert formatting.points_interval((-0.01, 0.02)) == "−1.0 to +2.0"
    assert formatting.nats(-0.1) == "−0.100"


@pytest.mark.parametrize(
    ("probability", "text"), [(0.0009, "< 0.001"), (0.001, "0.001"), (0.05, "0.050"), (1, "1.000")]
)
def test_a_p_value_is_never_shown_as_zero(probability: float, text: str) -> None:
    assert formatting.p_value(probability) == text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (True, "yes"),
        (False, "no"),
        (1e-5, "1e-05"),
        (0.12345, "0.123"),
        (12345, "12345"),
        ("a", "a"),
    ],
)
def test_a_value_may_be_copied_into_a_config(content: object, text: str) -> None:
    assert formatting.value(content) == text


def test_what_is_not_known_is_a_dash() -> None:
    unknown = (
        formatting.percent(None),
        formatting.percent_interval(None),
        formatting.percentage_points(None),
        formatting.p_value(None),
        formatting.nats(None),
        formatting.value(None),
    )
    assert set(unknown) == {MISSING}


def test_a_point_lists_its_values() -> None:
    assert formatting.point({"beta": 0.1, "norm": "mean"}) == "beta 0.1, norm mean"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (59.4, "59.4 s"),
        (59.6, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (7260, "2 h 1 min"),
    ],
)
def test_a_duration_is_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert formatting.duration(seconds) == text


def test_a_truth_value_is_no_number() -> None:
    assert [formatting.is_number(v) for v in (1, 0.5, True, None, "1")] == [
        True, True, False, False, False,
    ]  # fmt: skip
