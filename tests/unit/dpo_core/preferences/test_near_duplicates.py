"""Near duplicates: which questions are alike, whatever their order, and which clusters they make."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from dpo_core.preferences.near_duplicates import (
    MAX_BUCKET,
    MIN_SIMILARITY,
    RUN,
    Indices,
    Mask,
    Sketches,
)

LONG = "may a child of four years take the syrup for adults before going to bed at night"
CHAIN = [f"{LONG} {end}" for end in ("please", "please answer", "please answer me", "answer me")]
OTHER = ["is it safe to drive after the drops", "", "?"]


def runs(question: str) -> frozenset[str]:
    filled = f"{' ' * (RUN - 1)}{question}{' ' * (RUN - 1)}"
    return frozenset(filled[i : i + RUN] for i in range(len(filled) - RUN + 1))


def similarity(left: str, right: str) -> float:
    return len(runs(left) & runs(right)) / len(runs(left) | runs(right))


def partition(questions: Sequence[str], among: Mask | None = None) -> set[frozenset[str]]:
    numbers = Sketches.of(questions).clusters(among)
    return {
        frozenset(questions[i] for i in np.flatnonzero(numbers == number)) for number in numbers
    }


def pairs_between(least: float, most: float, count: int) -> list[tuple[str, str]]:
    """Pairs of questions of 10 to 60 words whose similarity is at least `least` and below `most`.

    Words of the second are replaced until it is no more similar to the first than that.
    """
    rng = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(1000)]
    pairs: list[tuple[str, str]] = []
    while len(pairs) < count:
        first = rng.choices(words, k=rng.randint(10, 60))
        second = list(first)
        while (reached := similarity(" ".join(first), " ".join(second))) >= most:
            second[rng.randrange(len(second))] = rng.choice(words)
        if reached >= least:
            pairs.append((" ".join(first), " ".join(second)))
    return pairs


def share_joined(pairs: Sequence[tuple[str, str]]) -> float:
    numbers = Sketches.of(question for pair in pairs for question in pair).clusters()
    return float((numbers[::2] == numbers[1::2]).mean())


def test_questions_are_joined_from_the_least_similarity_on() -> None:
    assert share_joined(pairs_between(MIN_SIMILARITY, MIN_SIMILARITY + 0.02, 400)) >= 0.95
    assert share_joined(pairs_between(0.8, 0.85, 200)) == 1
    assert share_joined(pairs_between(0.5, 0.6, 200)) <= 0.01


def test_another_least_similarity() -> None:
    strict = Sketches.of(CHAIN, 1.0).clusters()
    assert strict.tolist() == [0, 1, 2, 3]
    assert Sketches.of([LONG, LONG, CHAIN[0]], 1.0).clusters().tolist() == [0, 0, 2]


def test_a_cluster_holds_all_that_others_in_between_join() -> None:
    middle = " ".join(str(n) for n in range(100, 140))
    chain = [" ".join(middle.split()[start : start + 30]) for start in range(0, 11, 2)]
    assert similarity(chain[0], chain[-1]) < 0.6 < MIN_SIMILARITY < similarity(*chain[:2])
    assert partition([*chain, *OTHER]) == {frozenset(chain), *(frozenset([o]) for o in OTHER)}


def test_the_order_of_questions_changes_no_cluster() -> None:
    questions = [*CHAIN, *OTHER, *(q for pair in pairs_between(0.6, 0.8, 20) for q in pair)]
    first = partition(questions)
    for seed in range(5):
        assert partition(random.Random(seed).sample(questions, len(questions))) == first


def test_questions_that_are_left_aside_join_nothing() -> None:
    middle = [" ".join(f"w{n}" for n in range(start, start + 30)) for start in (0, 4, 8)]
    assert similarity(middle[0], middle[2]) < 0.6
    assert len(partition(middle)) == 1
    among = np.array([True, False, True])
    assert partition(middle, among) == {frozenset([question]) for question in middle}


def test_many_questions_that_are_alike_are_one_cluster() -> None:
    count = 3 * MAX_BUCKET
    numbers = Sketches.of(f"{LONG}, asks customer {n} today" for n in range(count)).clusters()
    assert set(numbers.tolist()) == {0}


def test_only_wanted_pairs_are_compared() -> None:
    def with_the_first(left: Indices, right: Indices) -> Mask:
        return (left == 0) | (right == 0)

    found = Sketches.of([*CHAIN, *OTHER]).similar_pairs(with_the_first)
    pairs = {frozenset(pair) for left, right in found for pair in zip(left, right, strict=True)}
    assert pairs == {frozenset((0, other)) for other in (1, 2, 3)}


@pytest.mark.parametrize("count", [0, 1])
def test_few_questions(count: int) -> None:
    assert Sketches.of([LONG] * count).clusters().tolist() == [0] * count
