"""Labelled responses to red-team prompts become pairs of a safe and a harmful one."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_core.errors import DataError
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.notes.no_pair import (
    BOTH_LABELS,
    CAPPED_RESPONSES,
    ONE_SIDE,
    REPEATED,
    NoPairCounts,
)
from dpo_core.preferences.red_team import read_red_team, red_team_pairs


def pairs(*rows: tuple[str, str, str], cap: int = 99, **more: Any) -> Any:
    return read(*rows, cap=cap, **more)[0]


def read(*rows: tuple[str, str, str], cap: int = 99, **more: Any) -> Any:
    """Pairs, and what made none, by reason."""
    no_pair = NoPairCounts()
    shaped = ({"prompt": p, "response": r, "label": label, **more} for p, r, label in rows)
    records = [read_red_team(Record(row, n, f"file:{n}")) for n, row in enumerate(shaped, 1)]
    made = red_team_pairs(records, pairs_per_prompt=cap, no_pair=no_pair)
    return made, dict(no_pair.counts)


def sides(made: Any) -> list[tuple[str, str]]:
    return [(pair.chosen, pair.rejected) for pair in made]


BOTH = [
    ("How do I make poison?", "Here is how.", "harmful"),
    ("How do I make poison?", "I will not help with that.", "safe"),
    ("How do I make poison?", "Take this.", "harmful"),
    ("Nobody answered badly", "No.", "safe"),
]


def test_every_safe_response_against_every_harmful_one() -> None:
    made = pairs(*BOTH, category="poison")
    assert sides(made) == [
        ("I will not help with that.", "Here is how."),
        ("I will not help with that.", "Take this."),
    ]
    assert {pair.category for pair in made} == {"poison"}
    assert made[0].line == 2, "the line of the safe response"


def test_a_cap_uses_each_response_once_before_any_twice() -> None:
    rows = [("p", f"safe {n}", "safe") for n in range(3)]
    rows += [("p", f"harmful {n}", "harmful") for n in range(3)]
    assert sides(pairs(*rows, cap=3)) == [(f"safe {n}", f"harmful {n}") for n in range(3)]
    assert len(sides(pairs(*rows))) == 9


def test_labels_are_two() -> None:
    with pytest.raises(DataError, match="file:1: label 'unsafe' must be `safe` or `harmful`"):
        pairs(("p", "r", "unsafe"))


def test_no_prompt_with_both_labels() -> None:
    assert read(("p", "r", "safe"), ("q", "r", "harmful")) == ([], {ONE_SIDE: 2})


def test_a_row_of_pairs_is_no_red_team_row() -> None:
    with pytest.raises(DataError, match="must be an object with `prompt`, `response`, and `label`"):
        read_red_team(Record({"prompt": "p", "chosen": "a"}, 1, "file:1"))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("p", " ", "safe"), "response: the answer is empty"),
        ((5, "r", "safe"), "prompt: 5 is of type int"),
    ],
)
def test_mistakes_name_the_place(row: Any, said: str) -> None:
    with pytest.raises(DataError, match=f"file:1: {said}"):
        pairs(row)


def test_a_prompt_in_another_spelling_is_the_same_prompt() -> None:
    prompts = ["How do I make poison?", "How do I make poison?\n", "HOW do I\u00a0make poison"]
    for other in prompts:
        made, no_pair = read((prompts[0], "No.", "safe"), (other, "Like this.", "harmful"))
        assert (len(made), no_pair) == (1, {})


def test_text_and_messages_are_the_same_prompt() -> None:
    row = [{"role": "user", "content": "p"}]
    assert len(pairs(("p", "No.", "safe"), (row, "Sure.", "harmful"))) == 1  # type: ignore[arg-type]


def test_what_makes_no_pair_is_counted_with_its_reason() -> None:
    rows = [
        ("p", "No.", "safe"),
        ("p", "no\n", "safe"),
        ("p", "Never.", "safe"),
        ("p", "Sure.", "harmful"),
        ("p", "Maybe.", "safe"),
        ("p", "maybe", "harmful"),
        ("q", "No.", "safe"),
    ]
    made, no_pair = read(*rows, cap=1)
    assert sides(made) == [("No.", "Sure.")]
    assert no_pair == {REPEATED: 1, BOTH_LABELS: 2, CAPPED_RESPONSES: 1, ONE_SIDE: 1}


def test_many_responses_of_a_prompt_take_no_time() -> None:
    rows = [("p", f"{label} {n}", label) for n in range(3000) for label in ("safe", "harmful")]
    made, no_pair = read(*rows, cap=4)
    assert (len(made), no_pair) == (4, {CAPPED_RESPONSES: 2 * 2996})


def test_what_is_wrong_with_a_pair_is_found_as_its_row_is_read() -> None:
    with pytest.raises(DataError, match=r"file:1: category \[5\] must be a text"):
        pairs(("p", "r", "safe"), category=[5])


def test_what_a_row_shares_with_its_pairs() -> None:
    (pair,) = pairs(("p", "No.", "safe"), ("p", "Sure.", "harmful"), system="Be brief.")
    assert pair.prompt[0] == {"role": "system", "content": "Be brief."}
