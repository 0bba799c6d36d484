"""Near duplicates among prompts, found by MinHash over their word triples.

An index proposes matches, and the estimated similarity of each match is checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from dpo_core.preferences.messages import Turns

MIN_SIMILARITY = 0.7  # Jaccard similarity of word triples, from which two prompts count as alike
MAX_PROMPTS = 50_000
"""Prompts after so many are not compared: sketches of a million prompts would need gigabytes."""


def similar_earlier(questions: Iterable[str]) -> Iterator[list[int]]:
    """Yield for each question the positions of earlier, similar ones, the most similar first.

    Only the first MAX_PROMPTS questions are compared.
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=MIN_SIMILARITY, num_perm=128)
    # Computing the permutations takes longer than a sketch, so each sketch copies them from here.
    empty = MinHash(num_perm=128)
    sketches: list[MinHash] = []
    for position, question in enumerate(questions):
        if position >= MAX_PROMPTS:
            yield []
            continue
        sketch = empty.copy()
        sketch.update_batch(list(_shingles(question)))
        similar = {other: sketch.jaccard(sketches[other]) for other in index.query(sketch)}
        matches = [other for other, share in similar.items() if share >= MIN_SIMILARITY]
        yield sorted(matches, key=lambda other: (-similar[other], other))
        index.insert(position, sketch)
        sketches.append(sketch)


def representatives(questions: Sequence[str] | Iterable[str]) -> list[int]:
    """Return for each question the position of the first similar question, or its own position.

    Appending questions does not change the result for those before them.
    """
    first_alike: list[int] = []
    for position, earlier in enumerate(similar_earlier(questions)):
        first_alike.append(first_alike[earlier[0]] if earlier else position)
    return first_alike


def first_question(prompt: Turns | str) -> str:
    """Return the first user message of a prompt."""
    if isinstance(prompt, str):
        return prompt
    return next(message["content"] for message in prompt if message["role"] == "user")


def _shingles(question: str) -> Iterator[bytes]:
    words = question.casefold().split()
    for start in range(max(1, len(words) - 2)):
        yield " ".join(words[start : start + 3]).encode()
