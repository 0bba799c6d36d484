"""Near duplicates: which questions are alike, and which of them stands for the others."""

from __future__ import annotations

import pytest

from dpo_core.preferences.messages import assistant, user
from dpo_core.preferences.near_duplicates import first_question, representatives, similar_earlier

LONG = "may a child of four years take the syrup for adults before going to bed at night"
QUESTIONS = [
    f"{LONG} please",
    "is it safe to drive after the drops",
    f"{LONG} thanks",
    f"{LONG.upper()} please",
    "",
]


def test_earlier_questions_come_with_the_most_similar_first() -> None:
    assert list(similar_earlier(QUESTIONS)) == [[], [], [0], [0, 2], []]


def test_the_first_of_similar_questions_represents_them() -> None:
    assert representatives(QUESTIONS) == [0, 1, 0, 0, 4]
    assert representatives(iter(QUESTIONS)) == representatives(QUESTIONS)


def test_a_question_that_is_appended_changes_none_before_it() -> None:
    for count in range(len(QUESTIONS)):
        assert representatives(QUESTIONS[:count]) == representatives(QUESTIONS)[:count]


@pytest.mark.parametrize(("shared", "alike"), [(30, True), (12, False)])
def test_questions_are_alike_from_a_share_of_their_word_triples(shared: int, alike: bool) -> None:
    common = [f"word{n}" for n in range(shared)]
    left, right = (" ".join([*common, *(f"{side}{n}" for n in range(4))]) for side in "lr")
    assert list(similar_earlier([left, right])) == [[], [0] if alike else []]


def test_only_so_many_questions_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpo_core.preferences.near_duplicates.MAX_PROMPTS", 2)
    assert list(similar_earlier([LONG, LONG, LONG])) == [[], [0], []]


def test_the_first_question_of_a_prompt() -> None:
    assert first_question("Which dose?") == "Which dose?"
    system = {"role": "system", "content": "Be brief."}
    assert first_question((system, user("a"), assistant("b"), user("c"))) == "a"
