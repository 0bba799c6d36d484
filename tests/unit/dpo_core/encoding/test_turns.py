"""Prompts as turns: which are oldest, what stays, and where a folded system text stands."""

from __future__ import annotations

from dpo_core.encoding.turns import fold_system, last_turn, turn_starts, without_oldest_turns
from dpo_core.preferences.messages import Turns, assistant, system, user

TOOL = {"role": "tool", "content": "12 boxes"}
PROMPT: Turns = (
    system("s"),
    assistant("Hello!"),
    user("a"),
    assistant("A"),
    system("t"),
    user("b"),
    assistant("B"),
    TOOL,
)


def test_a_turn_begins_with_the_user_and_system_texts_belong_to_none() -> None:
    assert turn_starts(PROMPT) == [1, 2, 5]
    assert last_turn(PROMPT) == [5, 6, 7]


def test_system_texts_stay_when_turns_are_dropped() -> None:
    assert without_oldest_turns(PROMPT, 0) == PROMPT
    assert without_oldest_turns(PROMPT, 1) == (PROMPT[0], *PROMPT[2:])
    assert without_oldest_turns(PROMPT, 2) == (PROMPT[0], *PROMPT[4:])


def test_a_system_text_goes_before_the_user_that_follows() -> None:
    folded = fold_system(PROMPT)
    assert folded == (
        assistant("Hello!"),
        user("s\n\na"),
        assistant("A"),
        user("t\n\nb"),
        *PROMPT[6:],
    )


def test_two_system_texts_go_together_and_an_empty_one_leaves_no_trace() -> None:
    assert fold_system((system("s"), system("t"), user("a"))) == (user("s\n\nt\n\na"),)
    assert fold_system((system(""), user("a"))) == (user("a"),)


def test_a_system_text_that_no_user_follows_stays() -> None:
    prompt = (user("a"), system("s"), TOOL)
    assert fold_system(prompt) == prompt
