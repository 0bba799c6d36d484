"""A value, a wrong type and a count are named in words of YAML and of English."""

from __future__ import annotations

import pytest

from dpo_core.wording import counted, describe_wrong_type, shown


def test_counts_have_their_noun() -> None:
    assert [counted(n, "CPU") for n in (0, 1, 1.0, 1.5, 2_000_000)] == (
        ["0 CPUs", "1 CPU", "1 CPU", "1.5 CPUs", "2,000,000 CPUs"]
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "null"),
        (True, "true"),
        ("None", "'None'"),
        (2.5, "2.5"),
        ([1], "[1]"),
        (10**70, "the num"),
    ],
)
def test_a_value_is_shown_as_in_yaml(value: object, words: str) -> None:
    assert shown(value).startswith(words)


def test_a_long_value_is_cut() -> None:
    for value in ("x" * 10_000, ["x"] * 10_000, {"x": "y" * 10_000}):
        assert len(shown(value)) < 70


def test_what_is_written_and_how_to_write_it() -> None:
    assert (
        describe_wrong_type("1e-5", "a number") == "'1e-5' is text; write the number without quotes"
    )
    assert describe_wrong_type("1.5", "a whole number") == "'1.5' is text; write a whole number"
    assert describe_wrong_type({}, "a list") == "{} is a mapping; write a list"
    assert describe_wrong_type(True, "text") == 'true is a boolean; write text in quotes: "true"'
