"""Prompts that say nearly the same: MinHash over word triples, each match checked by its estimate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from dpo_core.preferences.messages import Turns

MIN_SIMILARITY = 0.7  # Jaccard similarity of word triples
MAX_PROMPTS = 50_000
"""Prompts beyond these are compared word for word only: sketches of a million would need gigabytes."""


def similar_earlier(questions: Iterable[str]) -> Iterator[list[int]]:
    """For each question, positions of the earlier ones that are nearly the same, the most similar
    first. Only the first MAX_PROMPTS are compared."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=MIN_SIMILARITY, num_perm=128)
    empty = MinHash(num_perm=128)  # its permutations, which take longer than a sketch, serve all
    sketches: list[MinHash] = []
    for position, question in enumerate(questions):
        if position >= MAX_PROMPTS:
            yield []
            continue
        sketch = empty.copy()
        sketch.update_batch(list(_shingles(question)))
        similar = {other: sketch.jaccard(sketches[other]) for other in index.query(sketch)}
        found = [other for other, share in similar.items() if share >= MIN_SIMILARITY]
        yield sorted(found, key=lambda other: (-similar[other], other))
        index.insert(position, sketch)
        sketches.append(sketch)


def representatives(questions: Sequence[str] | Iterable[str]) -> list[int]:
    """For each question the first of its kind, itself if there was none: what comes later changes
    nothing of what came before."""
    found: list[int] = []
    for position, earlier in enumerate(similar_earlier(questions)):
        found.append(found[earlier[0]] if earlier else position)
    return found


def first_question(prompt: Turns | str) -> str:
    if isinstance(prompt, str):
        return prompt
    return next(message["content"] for message in prompt if message["role"] == "user")


def _shingles(question: str) -> Iterator[bytes]:
    words = question.casefold().split()
    for start in range(max(1, len(words) - 2)):
        yield " ".join(words[start : start + 3]).encode()
