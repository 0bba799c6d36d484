"""Near duplicates among prompts: questions that share most of their runs of four characters.

The sketch of a question holds the least of its runs' hashes under each of many hash functions
(MinHash). Two sketches agree in about as many places as the questions' runs overlap (their Jaccard
similarity). Questions are compared when seven neighbouring places agree somewhere, which finds 99.8 % of
those with a similarity of 0.7. Whether two questions are alike depends on the two alone, whatever
their order and whichever others there are.

For 50,000 questions of 100 characters numpy takes 2 s; objects of `datasketch` took 17 s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

RUN = 4  # characters; both ends of a question are filled up, so that all characters weigh the same
HASHES, BAND = 504, 7
MIN_SIMILARITY = 0.7
"""Jaccard similarity of runs of characters from which two questions are alike."""
MAX_BUCKET = 64
"""Questions that agree in a band are compared with each other; where more do, further places must
agree too. So the time grows with the number of questions, not with its square."""


@dataclass(frozen=True)
class Sketches:
    """The sketches of questions, and how similar those are that count as alike."""

    values: npt.NDArray[np.uint8]
    """One row a question, shape (questions, HASHES)."""
    min_similarity: float = MIN_SIMILARITY

    @classmethod
    def of(cls, questions: Iterable[str], min_similarity: float = MIN_SIMILARITY) -> Sketches:
        """Sketch normalized questions."""
        parts = [_sketch(batch) for batch in _batches(questions)]
        values = np.concatenate(parts) if parts else np.empty((0, HASHES), np.uint8)
        return cls(values, min_similarity)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def min_agreement(self) -> float:
        """Return the share of places in which sketches of questions that are alike agree.

        It is the similarity less 1.7 standard errors, so that 95 % of those with exactly that
        similarity are alike.
        """
        similarity = self.min_similarity
        return similarity - 1.7 * math.sqrt(similarity * (1 - similarity) / HASHES)

    def clusters(self, among: Mask | None = None) -> Indices:
        """Join questions that are alike, and those that others in between join.

        Args:
            among: Which questions to join, shape (questions,); the others join nothing.

        Returns:
            The number of each question's cluster, shape (questions,): the position of one member.
        """
        roots: Indices = np.arange(len(self))
        may_join = np.ones(len(self), np.bool_) if among is None else among

        def not_joined(left: Indices, right: Indices) -> Mask:
            are_apart: Mask = roots[left] != roots[right]
            return are_apart & may_join[left] & may_join[right]

        for left, right in self.similar_pairs(not_joined):
            for one, other in zip(left.tolist(), right.tolist(), strict=True):
                first, second = _root(roots, one), _root(roots, other)
                roots[max(first, second)] = min(first, second)
            while (roots[roots] != roots).any():
                roots[:] = roots[roots]
        return roots

    def similar_pairs(
        self, wanted: Callable[[Indices, Indices], Mask]
    ) -> Iterator[tuple[Indices, Indices]]:
        """Yield pairs of questions that are alike, some of them more than once.

        Args:
            wanted: Called with the positions of the two questions of many pairs; returns which of
                these pairs to compare.

        Yields:
            The positions of the two questions of each pair.
        """
        part = np.ascontiguousarray(self.values[:, :_PART])
        for left, right in _candidates(self.values):
            for start in range(0, len(left), _COMPARED):
                one, other = left[start : start + _COMPARED], right[start : start + _COMPARED]
                is_wanted = wanted(one, other)
                one, other = one[is_wanted], other[is_wanted]
                for values, least in ((part, _PART_AGREEMENT), (self.values, self.min_agreement)):
                    is_alike = _agreement(values[one], values[other]) >= least
                    one, other = one[is_alike], other[is_alike]
                if len(one):
                    yield one, other


def _root(roots: Indices, position: int) -> int:
    while roots[position] != position:
        position = int(roots[position])
    return position


# Sketches

_BATCH_CHARACTERS = 2**17  # four times so many bytes fit a processor's cache
_random = np.random.default_rng(0)
_FLIPPED: npt.NDArray[np.uint32] = _random.integers(0, 2**32, HASHES, dtype=np.uint32)
_FACTORS: npt.NDArray[np.uint32] = _random.integers(0, 2**32, HASHES, dtype=np.uint32) | np.uint32(
    1
)


def _batches(questions: Iterable[str]) -> Iterator[list[str]]:
    """Yield the questions in order, so many at once that memory stays bounded."""
    batch: list[str] = []
    characters = 0
    for question in questions:
        batch.append(question)
        characters += len(question) + RUN
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _sketch(questions: list[str]) -> npt.NDArray[np.uint8]:
    hashes = _run_hashes(questions)
    runs = [len(question) + RUN - 1 for question in questions]
    starts = np.cumsum([0, *runs[:-1]])
    sketches = np.empty((len(questions), HASHES), np.uint8)
    for column in range(HASHES):
        mixed = (hashes ^ _FLIPPED[column]) * _FACTORS[column]
        mixed ^= mixed >> np.uint32(15)
        # The high bits of a minimum are mostly 0, so those of a multiple of it are kept.
        sketches[:, column] = (np.minimum.reduceat(mixed, starts) * _MIX_1) >> np.uint32(24)
    return sketches


_PRIME, _MIX_1, _MIX_2 = (np.uint32(n) for n in (0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35))


def _run_hashes(questions: list[str]) -> npt.NDArray[np.uint32]:
    """Hash the runs of all questions one after the other; a question has len(question) + RUN - 1."""
    fill = " " * (RUN - 1)
    text = f"{fill}{fill.join(questions)}{fill}"
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    hashes = np.zeros(len(codes) - RUN + 1, np.uint32)
    for offset in range(RUN):
        hashes = hashes * _PRIME + codes[offset : offset + len(hashes)]
    # The end of MurmurHash3, after which every bit depends on every other.
    hashes = (hashes ^ hashes >> np.uint32(16)) * _MIX_1
    hashes = (hashes ^ hashes >> np.uint32(13)) * _MIX_2
    return hashes ^ hashes >> np.uint32(16)


def _agreement(
    left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float64]:
    """Return the share of columns in which two sketches agree; there are a multiple of 8."""
    counts = np.bitwise_count((left == right).view(np.uint64))  # eight columns at once
    agreement: npt.NDArray[np.float64] = counts.sum(axis=1) / left.shape[1]
    return agreement


# Candidates

_COMPARED = 2**15  # pairs at once, whose sketches take 2 · 17 MB
# A part of the sketches rules most pairs out; 0.5 is four standard errors below 0.7.
_PART, _PART_AGREEMENT = 96, 0.5


def _candidates(sketches: npt.NDArray[np.uint8]) -> Iterator[tuple[Indices, Indices]]:
    """Yield the pairs of questions that agree in a whole band."""
    for start in range(0, HASHES, BAND):
        buckets = _buckets(sketches, start)
        order: Indices = np.argsort(buckets, kind="stable")
        in_order = buckets[order]
        for distance in range(1, min(MAX_BUCKET, len(order))):
            together = in_order[distance:] == in_order[:-distance]
            if not together.any():
                break
            yield order[:-distance][together], order[distance:][together]


def _buckets(sketches: npt.NDArray[np.uint8], start: int) -> Indices:
    """Number the buckets of a band and return that of each question, shape (questions,)."""
    columns = [(start + further) % HASHES for further in range(HASHES)]
    keys = np.zeros(len(sketches), np.int64)
    for column in columns[:BAND]:
        keys = keys * 256 + sketches[:, column]
    buckets = _numbered(keys)
    used = len(buckets)
    large = np.flatnonzero(np.bincount(buckets)[buckets] > MAX_BUCKET)
    for column in columns[BAND:]:
        if not len(large):
            break
        finer = _numbered(buckets[large] * 256 + sketches[large, column])
        buckets[large] = used + finer
        used += len(finer)
        large = large[np.bincount(finer)[finer] > MAX_BUCKET]
    return buckets


def _numbered(keys: Indices) -> Indices:
    """Number the different keys from 0 and return the number of each key."""
    numbers: Indices = np.unique(keys, return_inverse=True)[1]
    return numbers
