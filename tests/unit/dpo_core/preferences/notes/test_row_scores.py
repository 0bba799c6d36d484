"""Scores that publishers give beside both answers, under the names of their columns."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_core.preferences.notes.row_scores import RowScores, score_columns


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        ("score_chosen", "score_rejected"),
        ("chosen-rating", "rejected-rating"),
        ("chosen_avg_rating", "rejected_avg_rating"),
        ("reward_chosen", "reward_rejected"),
        ("chosen_score", "rejected_score"),
        ("Chosen Score", "Rejected Score"),
    ],
)
def test_columns_with_scores(chosen: str, rejected: str) -> None:
    columns = ("prompt", "chosen", "rejected", rejected, chosen)
    assert score_columns(columns) == [(chosen, rejected)]


@pytest.mark.parametrize(
    "columns",
    [
        ("prompt", "chosen", "rejected"),
        ("chosen_tokens", "rejected_tokens"),
        ("chosen-model", "rejected-model"),
        ("score_chosen", "score"),
        ("chosen_underscored", "rejected_underscored"),
        (1, None),
    ],
)
def test_other_columns(columns: tuple[Any, ...]) -> None:
    assert score_columns(columns) == []


def test_equal_scores_and_negative_margins_are_counted() -> None:
    scores = RowScores()
    for line, (one, other) in enumerate([(8, 5), (7.5, 7.5), (2, 6), ("3", "9"), (None, 4)], 1):
        scores.see({"score_chosen": one, "score_rejected": other, "margin": -1}, f"file:{line}")
    scores.see("no row", "file:6")
    counts = scores.counts["score_chosen and score_rejected"]
    assert (counts.rows, counts.equal, counts.against) == (4, 1, 2)
    assert counts.equal_places == ["file:2"]
    assert counts.against_places == ["file:3", "file:4"]
    assert (scores.counts["margin"].rows, scores.counts["margin"].against) == (5, 5)
