"""Pairs of which another says the same, or the opposite, by `preferences.normalization`.

Tested in tests/unit/dpo_core/audit/test_pair_checks.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dpo_core.audit.findings import INFO, SEVERE, SHOWN, WARNING, Finding, Locations, examples
from dpo_core.preferences.messages import Turns, content_of
from dpo_core.preferences.normalization import normalize_turns
from dpo_core.preferences.pairs import PreferencePair, chat_answer, normalized_prompt
from dpo_core.preferences.table import PairTable

MANY = 0.01
_BLINDNESS = "case, white space and punctuation at the end aside"
_Numbers = npt.NDArray[np.int64]


class _Contents(NamedTuple):
    """A number for the content of each pair, and for the same with its answers swapped."""

    own: _Numbers
    opposite: _Numbers


def repeats_and_contradictions(
    tables: Iterable[PairTable], locations: Locations
) -> Iterator[Finding]:
    """Report pairs that repeat or contradict an earlier one, and those whose answers are the same.

    Args:
        tables: The pairs of each split.
        locations: Where they were read.

    Yields:
        At most one finding of each kind.
    """
    # Hashes of 64 bits stand for the texts, of which there may be millions.
    numbers = (number for table in tables for pair in table for number in _numbers(pair))
    own, opposite, is_same = np.fromiter(numbers, np.int64).reshape(-1, 3).T
    contents = _Contents(own, opposite)
    yield from _repeats(contents, locations)
    yield from _contradictions(contents, locations)
    yield from _same_words(is_same != 0, locations)


def _repeats(contents: _Contents, locations: Locations) -> Iterator[Finding]:
    is_repeat = np.ones(len(contents.own), np.bool_)
    is_repeat[np.unique(contents.own, return_index=True)[1]] = False
    count = int(is_repeat.sum())
    if count:
        yield Finding(
            "repeated",
            WARNING if count > MANY * len(is_repeat) else INFO,
            count,
            f"pairs repeat another one, {_BLINDNESS}; each repetition counts again",
            "drop them, or give a source a weight instead",
            examples(is_repeat, locations),
        )


def _contradictions(contents: _Contents, locations: Locations) -> Iterator[Finding]:
    own, opposite = contents
    opposed = np.flatnonzero(np.isin(own, opposite)).tolist()
    first = {int(own[i]): i for i in reversed(opposed)}
    both = [(first[int(opposite[j])], j) for j in opposed if first[int(opposite[j])] < j]
    if both:
        yield Finding(
            "contradicting",
            SEVERE if len(both) > MANY * len(own) else WARNING,
            len(both),
            f"times the same two answers are preferred both ways, {_BLINDNESS}",
            "let a majority decide, or drop both",
            tuple(f"{locations[i]} and {locations[j]}" for i, j in both[:SHOWN]),
        )


def _same_words(is_same: npt.NDArray[np.bool_], locations: Locations) -> Iterator[Finding]:
    count = int(is_same.sum())
    if count:
        yield Finding(
            "same_words",
            WARNING if count > MANY * len(is_same) else INFO,
            count,
            f"pairs have the same two answers, {_BLINDNESS}; they teach how to write the words, not "
            "which to choose",
            "nothing if that is what you want; otherwise drop them",
            examples(is_same, locations),
        )


def _numbers(pair: PreferencePair) -> tuple[int, int, int]:
    """Return what stands for a pair's content.

    Args:
        pair: The pair.

    Returns:
        A number for the pair as it is, one for the pair with its answers swapped, and 1 if these are the
        same answer in two spellings, else 0. Then their spelling is part of the numbers.
    """
    prompt = normalized_prompt(pair)
    sides = chat_answer(pair.chosen), chat_answer(pair.rejected)
    chosen, rejected = map(normalize_turns, sides)
    is_same = chosen == rejected
    if is_same:
        chosen, rejected = map(_spelling, sides)
    return hash((prompt, chosen, rejected)), hash((prompt, rejected, chosen)), int(is_same)


def _spelling(answer: Turns) -> str:
    return str([{**message, "content": content_of(message).strip()} for message in answer])
