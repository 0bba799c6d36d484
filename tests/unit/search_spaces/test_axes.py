"""Each axis checks itself, answers for its values, and says how to mend what is wrong."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from search_spaces import Choice, LogUniform, SpaceError, Uniform
from search_spaces.axes import axis_from_yaml, describe

floats = st.floats(allow_nan=False, allow_infinity=False)
scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), floats, st.text()
)


def bounds(low: float) -> st.SearchStrategy[tuple[float, float]]:
    number = st.floats(low, 1e9)
    return st.tuples(number, number).filter(lambda b: b[0] < b[1])


ranges = st.builds(lambda b: LogUniform(*b), bounds(1e-12)) | st.builds(
    lambda b: Uniform(*b), bounds(-1e9)
)
choices = st.builds(Choice, st.lists(scalars, min_size=1, max_size=5, unique=True))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (
            {"log_uniform": [-1.0, 1]},
            'low=-1.0 must be > 0 on a log axis; raise it or use "uniform"',
        ),
        ({"log_uniform": [0, 1]}, 'low=0.0 must be > 0 on a log axis; raise it or use "uniform"'),
        (
            {"uniform": [2, 1]},
            "low=2.0 must be < high=1.0; swap them, or write the value alone to fix it",
        ),
        (
            {"log_uniform": [1, 1]},
            "low=1.0 must be < high=1.0; swap them, or write the value alone to fix it",
        ),
        (
            {"uniform": ["1e-5", 1]},
            "low='1e-5' must be a finite number; write it like 0.1 or 1.0e-5",
        ),
        (
            {"uniform": [0, math.inf]},
            "high=inf must be a finite number; write it like 0.1 or 1.0e-5",
        ),
        (
            {"uniform": [math.nan, 1]},
            "low=nan must be a finite number; write it like 0.1 or 1.0e-5",
        ),
        (
            {"uniform": [False, 1]},
            "low=False must be a finite number; write it like 0.1 or 1.0e-5",
        ),
        ({"uniform": 3}, "uniform=3 must be two numbers; write uniform: [low, high]"),
        (
            {"uniform": [1, 2, 3]},
            "uniform=[1, 2, 3] must be two numbers; write uniform: [low, high]",
        ),
        ({"choice": []}, "choice=[] must hold at least one value; add one, or drop it"),
        ({"choice": "none"}, "choice='none' must be a list; write choice: [a, b]"),
        (
            {"choice": [[1]]},
            "choice value [1] must be text, a finite number, true, false or null; "
            "write each value alone",
        ),
        (
            {"choice": [math.nan]},
            "choice value nan must be text, a finite number, true, false or null; "
            "write each value alone",
        ),
        (
            {"choice": ["a", "a"]},
            "choice value 'a' equals 'a' before it; keep one of them",
        ),
        (
            {"choice": [True, 1]},
            "choice value 1 equals True before it; keep one of them",
        ),
        ({"loguniform": [1, 2]}, "'loguniform' is no kind of axis; did you mean \"log_uniform\"?"),
        (
            {"zzz": [1, 2]},
            "'zzz' is no kind of axis; use one of log_uniform, uniform, choice",
        ),
        (
            {},
            "no kind given, but an axis has exactly one kind; "
            "use one of log_uniform, uniform, choice",
        ),
        (
            {"uniform": [0, 1], "choice": [1]},
            "uniform and choice given, but an axis has exactly one kind; "
            "use one of log_uniform, uniform, choice",
        ),
        (
            math.inf,
            "inf is no axis; write one value, or one of log_uniform, uniform, choice",
        ),
    ],
)
def test_error_says_value_rule_and_way_out(form: Any, message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        axis_from_yaml(form)
    assert str(caught.value) == message


def test_integer_beyond_floats_is_not_finite() -> None:
    with pytest.raises(SpaceError, match="must be a finite number"):
        Uniform(0, 10**400)
    assert not Uniform(0, 1).contains(10**400)


@pytest.mark.parametrize(
    ("axis", "value", "message"),
    [
        (Uniform(0, 1), 1.5, "1.5 lies outside; give one in uniform [0.0, 1.0]"),
        (
            LogUniform(0.1, 1),
            "0.5",
            "'0.5' is not a finite number; give one in log_uniform [0.1, 1.0]",
        ),
        (Uniform(0, 1), True, "True is not a finite number; give one in uniform [0.0, 1.0]"),
        (
            Uniform(0, 1),
            math.nan,
            "nan is not a finite number; give one in uniform [0.0, 1.0]",
        ),
        (
            Choice(["none", "mean"]),
            "sum",
            "'sum' is not among the choices; give one of ['none', 'mean']",
        ),
        (Choice([0, 2]), False, "False is not among the choices; give one of [0, 2]"),
        (Choice([None]), "None", "'None' is not among the choices; give one of [None]"),
    ],
)
def test_why_not(axis: Uniform | LogUniform | Choice, value: object, message: str) -> None:
    assert axis.why_not(value) == message
    assert not axis.contains(value)


@pytest.mark.parametrize(
    ("axis", "value"),
    [(Uniform(0, 1), 0), (LogUniform(0.1, 1), 1.0), (Choice([1]), 1.0), (Choice([None]), None)],
)
def test_inside_has_no_complaint(axis: Uniform | LogUniform | Choice, value: object) -> None:
    assert axis.why_not(value) is None
    assert axis.contains(value)


@given(ranges | choices)
def test_yaml_round_trip(axis: Uniform | LogUniform | Choice) -> None:
    again = axis_from_yaml(axis.to_yaml())
    assert again == axis
    assert type(again) is type(axis)
    assert describe(axis).startswith(axis.kind)


@given(ranges, st.floats(allow_nan=False))
def test_contains_is_between_the_bounds(axis: Uniform | LogUniform, value: float) -> None:
    assert axis.contains(value) == (axis.low <= value <= axis.high)
    assert axis.contains(axis.low)
    assert axis.contains(axis.high)


@given(choices)
def test_choice_keeps_types_and_contains_its_values(axis: Choice) -> None:
    assert all(axis.contains(value) for value in axis.values)
    assert [type(v) for v in axis.values] == [type(v) for v in axis.to_yaml()["choice"]]


@given(scalars)
def test_scalar_is_a_choice_of_one(value: Any) -> None:
    assert axis_from_yaml(value) == Choice([value])


def test_axes_are_frozen_and_travel_between_processes() -> None:
    axis = LogUniform(0.1, 1)
    with pytest.raises(ValidationError):
        axis.low = 0.2
    assert pickle.loads(pickle.dumps(axis)) == axis
