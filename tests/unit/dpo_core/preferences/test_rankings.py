"""Rankings by annotators become the pairs that their rule states."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpo_core.errors import DataError
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.notes.no_pair import (
    CAPPED_PAIRS,
    ONE_RESPONSE,
    REPEATED,
    SMALL_GAPS,
    TIES,
    UNRATED,
    NoPair,
    NoPairCounts,
)
from dpo_core.preferences.rankings import RankingReader, annotator_agreement, ranking_pairs
from dpo_core.settings import SourceSettings

RULES = get_args(SourceSettings.model_fields["rule"].annotation)
RESPONSES = ["good", "fair", "bad", "awful"]


def rankings(*rows: dict[str, Any], no_pair: NoPairCounts | None = None) -> Any:
    shaped = ({"prompt": "Which dose?", "responses": RESPONSES, **row} for row in rows)
    reader = RankingReader(no_pair or NoPairCounts())
    return [reader.read(Record(row, n, f"file:{n}")) for n, row in enumerate(shaped, 1)]


def pairs(*rows: dict[str, Any], rule: str = "all", cap: int = 99, gap: float = 0.0) -> Any:
    return [(pair.chosen, pair.rejected) for pair in read(*rows, rule=rule, cap=cap, gap=gap)[0]]


def read(*rows: dict[str, Any], rule: str = "all", cap: int = 99, gap: float = 0.0) -> Any:
    """Pairs, and what made none, by reason."""
    no_pair = NoPairCounts()
    read_rankings = rankings(*rows, no_pair=no_pair)
    made = ranking_pairs(
        read_rankings, rule=rule, pairs_per_prompt=cap, min_gap=gap, no_pair=no_pair
    )
    return made, dict(no_pair.counts)


@pytest.mark.parametrize("row", [{"ranks": [1, 2, 3, 4]}, {"scores": [9, 7, 5, 3]}])
def test_rules(row: dict[str, Any]) -> None:
    assert pairs(row, rule="best_worst") == [("good", "awful")]
    assert pairs(row, rule="adjacent") == [("good", "fair"), ("fair", "bad"), ("bad", "awful")]
    assert len(pairs(row, rule="all")) == 6
    assert pairs(row, rule="all", cap=3) == [("good", "awful"), ("good", "bad"), ("fair", "awful")]


def test_ties_are_no_preference() -> None:
    assert pairs({"ranks": [1, 1, 2, 2]}, rule="adjacent") == [("fair", "bad")]
    for rule in RULES:
        assert pairs({"scores": [3, 3, 3, 3]}, rule=rule) == []


def test_small_gaps_can_be_left_out() -> None:
    row = {"scores": [9.0, 8.9, 5.0, 1.0]}
    assert pairs(row, rule="adjacent", gap=0.5) == [("bad", "awful"), ("fair", "bad")]
    assert pairs({"scores": [1.5, 1.0, 0.5, 0.0]}, rule="best_worst", gap=1.5) == [
        ("good", "awful")
    ]
    assert pairs({"scores": [1.5, 1.0, 0.5, 0.0]}, rule="best_worst", gap=1.6) == []


def test_annotators_are_averaged_whatever_the_order_of_their_responses() -> None:
    one = {"ranks": [1, 2, 3, 4], "annotator": "ann"}
    two = {"responses": RESPONSES[::-1], "ranks": [4, 3, 1, 2], "annotator": "bob"}
    # Means: good (1 + 2)/2, fair (2 + 1)/2: a tie between two people is a tie.
    assert pairs(one, two, rule="adjacent") == [("fair", "bad"), ("bad", "awful")]


def test_the_same_response_twice_is_one() -> None:
    row = {"responses": ["yes", "no", "yes"], "scores": [1, 5, 3]}
    assert pairs(row) == [("no", "yes")]


def test_chat_messages_and_category_come_through() -> None:
    answers = [[{"role": "assistant", "content": text}] for text in ("Ask first.", "Sure!")]
    row = {"responses": answers, "ranks": [1, 2], "category": "dosage"}
    ((pair,), _) = read(row, rule="best_worst", cap=1)
    assert pair.chosen == ({"role": "assistant", "content": "Ask first."},)
    assert (pair.category, pair.line) == ("dosage", 1)


@given(st.lists(st.integers(0, 3), min_size=4, max_size=4), st.sampled_from(RULES))
def test_the_chosen_one_always_has_the_better_score(scores: list[int], rule: str) -> None:
    of = dict(zip(RESPONSES, scores, strict=True))
    for chosen, rejected in pairs({"scores": scores}, rule=rule):
        assert of[chosen] > of[rejected]


def test_agreement() -> None:
    ann = {"ranks": [1, 2, 3, 4], "annotator": "ann"}
    same, reverse = ({"ranks": r, "annotator": "bob"} for r in ([1, 2, 3, 4], [4, 3, 2, 1]))
    assert annotator_agreement(rankings(ann, same)) == pytest.approx(1.0)
    alpha = annotator_agreement(rankings(ann, reverse))
    assert alpha is not None
    assert alpha < 0
    assert annotator_agreement(rankings(ann)) is None, "one person agrees with nobody"
    scored = [
        {"prompt": "Another?", "scores": [4, 3, 2, 1], "annotator": name} for name in ("ann", "bob")
    ]
    assert annotator_agreement(rankings(ann, same, scored[0])) == pytest.approx(1.0), (
        "judged by one alone"
    )
    assert annotator_agreement(rankings(ann, same, *scored)) is None, (
        "ranks and scores have no common scale"
    )
    ties = [{"scores": [3, 3, 3, 3], "annotator": name} for name in ("ann", "bob")]
    assert annotator_agreement(rankings(*ties)) is None


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({}, "has neither; give either `ranks`"),
        ({"ranks": [1, 2, 3, 4], "scores": [1, 2, 3, 4]}, "has ranks and scores"),
        ({"ranks": [1, 2]}, "must be a list of 4 numbers"),
        ({"ranks": [1, 2, 3, "4"]}, "holds '4'; give numbers"),
        ({"ranks": [1, 2, 3, True]}, "holds True; give numbers"),
        ({"scores": [1, 2, 3, float("nan")]}, "holds nan; give finite numbers"),
        ({"responses": "text", "ranks": [1]}, "must be a list of answers"),
        ({"prompt": 5, "ranks": [1, 2, 3, 4]}, "prompt: 5 is of type int"),
        ({"responses": ["a", 7], "ranks": [1, 2]}, "response 2: 7 is of type int"),
        ({"responses": ["fine", " "], "ranks": [1, 2]}, "response 2: the answer is empty"),
    ],
)
def test_mistakes_name_the_place(row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said) as error:
        rankings({"ranks": [1, 2, 3, 4]}, row)
    assert str(error.value).startswith("file:2: ")


def test_ranks_and_scores_do_not_mix() -> None:
    with pytest.raises(DataError, match="file:2: ranks and scores for the same responses"):
        pairs({"ranks": [1, 2, 3, 4]}, {"scores": [1, 2, 3, 4]})


def test_annotators_whose_spelling_differs_ranked_the_same_responses() -> None:
    ann = {"ranks": [1, 2, 3, 4], "annotator": "ann"}
    bob = {
        "prompt": "which dose\n",
        "responses": ["Good.", " fair", "BAD", "awful\u00a0\n"],
        "ranks": [4, 3, 2, 1],
        "annotator": "bob",
    }
    made, no_pair = read(ann, bob)
    assert made == [], "they contradict each other in every comparison"
    assert no_pair == {TIES: 6}
    assert read(ann, bob, ann)[0][0].chosen == "good"


def test_one_answer_in_two_spellings_is_not_ranked_against_itself() -> None:
    made, no_pair = read({"responses": ["Yes.", "yes", "no"], "scores": [5, 4, 1]})
    assert [(pair.chosen, pair.rejected) for pair in made] == [("Yes.", "no")]
    assert no_pair == {REPEATED: 1}
    with pytest.raises(NoPair, match=ONE_RESPONSE):
        rankings({"responses": ["Yes.", "yes"], "scores": [5, 4]})
    with pytest.raises(NoPair, match=ONE_RESPONSE):
        rankings({"responses": ["yes"], "scores": [5]})


def test_a_response_without_a_number_is_left_out_and_counted() -> None:
    made, no_pair = read({"scores": [5, None, 3, None]})
    assert [(pair.chosen, pair.rejected) for pair in made] == [("good", "bad")]
    assert no_pair == {UNRATED: 2}
    with pytest.raises(NoPair, match=ONE_RESPONSE):
        rankings({"ranks": [1, None, None, None]})


def test_what_makes_no_pair_is_counted_with_its_reason() -> None:
    rows = [{"scores": [9, 8.5, 3, 3]}, {"prompt": "Another?", "scores": [4, 3, 2, 1]}]
    made, no_pair = read(*rows, cap=2, gap=1.0)
    assert len(made) == 4
    assert no_pair == {TIES: 1, SMALL_GAPS: 1, CAPPED_PAIRS: 2 + 4}


def test_the_most_pairs_of_a_prompt_are_of_all_its_rows() -> None:
    rows = [
        {"responses": ["a", "b"], "scores": [2, 1]},
        {"prompt": "which dose", "responses": ["c", "d"], "scores": [9, 1]},
    ]
    made, no_pair = read(*rows, cap=1)
    assert [(pair.chosen, pair.rejected) for pair in made] == [("c", "d")]
    assert no_pair == {CAPPED_PAIRS: 1}


def test_what_a_row_shares_with_its_pairs() -> None:
    tools = [{"type": "function", "function": {"name": "look_up"}}]
    shared = {"system": "Be brief.", "tools": tools, "weight": 2.0}
    ((pair, *_), _) = read({"ranks": [1, 2, 3, 4], **shared})
    assert pair.prompt[0] == {"role": "system", "content": "Be brief."}
    assert (pair.tools, pair.weight) == (tuple(tools), 2.0)
    both = {"ranks": [1, 2, 3, 4]}, {"ranks": [4, 3, 2, 1], "system": "Be brief."}
    assert len(read(*both)[0]) == 12, "another system text is another question"


def test_what_is_wrong_with_a_pair_is_found_as_its_row_is_read() -> None:
    with pytest.raises(DataError, match=r"file:1: category \[5\] must be a text"):
        rankings({"ranks": [1, 2, 3, 4], "category": [5]})
