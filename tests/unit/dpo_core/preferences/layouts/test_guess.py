"""Columns of unknown rows are guessed by their names, and never those that are about a text."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_core.preferences.layouts.guess import (
    answer_for_unknown,
    guessed_columns,
    holds_one_answer_a_prompt,
)

USER = {"role": "user", "content": "Why?"}
ANSWER = {"role": "assistant", "content": "Because."}


def texts(names: str) -> dict[str, Any]:
    return {name: f"text of {name}" for name in names.split()}


@pytest.mark.parametrize(
    ("row", "guess"),
    [
        (
            texts("prompt chosen_policy preferred preferred_score rejected rejected_policy"),
            {"prompt": "prompt", "chosen": "preferred", "rejected": "rejected"},
        ),
        (
            texts("prompt_id question chosen_model chosen_feedback chosen rejected_id rejected"),
            {"prompt": "question", "chosen": "chosen", "rejected": "rejected"},
        ),
        (
            texts("orig_criteria orig_feedback_A orig_feedback_B orig_reference_answer")
            | texts("orig_instruction orig_response_A orig_response_B orig_score_A orig_score_B")
            | {"orig_preference": "B"},
            {
                "prompt": "orig_instruction",
                "a": "orig_response_A",
                "b": "orig_response_B",
                "winner": {"column": "orig_preference", "a": "A", "b": "B"},
            },
        ),
        (
            texts("model_a model_b prompt response_1 response_2") | {"winner": "model_b"},
            {
                "prompt": "prompt",
                "a": "response_1",
                "b": "response_2",
                "winner": {"column": "winner", "a": "model_a", "b": "model_b"},
            },
        ),
        (
            texts("query title_a title_b side_a reply_a reply_b") | {"vote": "right"},
            {
                "prompt": "query",
                "a": "reply_a",
                "b": "reply_b",
                "winner": {"column": "vote", "a": "left", "b": "right"},
            },
        ),
        (
            texts("instruction output_a output_b relevance_explanation")
            | {"relevance_preference": "B", "overall_quality_preference": "A"},
            {
                "prompt": "instruction",
                "a": "output_a",
                "b": "output_b",
                "winner": {"column": "overall_quality_preference", "a": "A", "b": "B"},
            },
        ),
        (
            {"messages": [USER, ANSWER], "rejected_turn": ANSWER},
            {"prompt": "messages[:-1]", "chosen": "messages[-1]", "rejected": "rejected_turn"},
        ),
        (texts("prompt chosen_model rejected_model"), None),
        (texts("prompt feedback_a feedback_b") | {"winner": "a"}, None),
    ],
)
def test_texts_are_guessed_and_not_what_is_said_about_them(
    row: dict[str, Any], guess: dict[str, Any] | None
) -> None:
    assert guessed_columns([row]) == guess


def test_ties_are_told_from_the_sides() -> None:
    rows = [texts("prompt answer_a answer_b") | {"winner": w} for w in ("model_b", "tie", "both")]
    guess = guessed_columns(rows)
    assert guess is not None
    assert guess["winner"] == {
        "column": "winner",
        "a": "model_a",
        "b": "model_b",
        "tie": ["both", "tie"],
    }


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER, ANSWER], "rejected_turn": ANSWER},
        {"messages": [USER, {"role": "assistant", "candidates": [ANSWER, ANSWER]}]},
        {"messages": [USER, USER]},
        texts("prompt completion rejected"),
        texts("prompt answer alternative_answer"),
    ],
)
def test_rows_with_a_second_answer_are_not_said_to_be_for_sft(row: dict[str, Any]) -> None:
    assert not holds_one_answer_a_prompt([row])
    assert "SFT" not in answer_for_unknown([row])


@pytest.mark.parametrize(("there", "absent"), [("chosen", "rejected"), ("rejected", "chosen")])
def test_one_missing_side_is_named_alone(there: str, absent: str) -> None:
    message = answer_for_unknown([texts(f"prompt {there}")])
    assert message == (
        f"columns prompt, {there} hold `{there}` and no `{absent}`; DPO compares two answers to a "
        f"prompt, so add `{absent}`, or name it with data.columns"
    )
