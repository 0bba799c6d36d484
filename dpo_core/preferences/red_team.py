"""Responses to red-team prompts become pairs of a safe and a harmful response to one prompt.

    {"prompt": "...", "response": "...", "label": "harmful", "category": "weapons"}

A row has one response, labelled `safe` or `harmful`. Prompts and responses that differ in spelling
alone (see `normalization`) are the same. The pair keeps the category, by which accuracy is broken down.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from dpo_core.errors import DataError
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.messages import preview
from dpo_core.preferences.normalization import normalize_turns
from dpo_core.preferences.notes.no_pair import (
    BOTH_LABELS,
    CAPPED_RESPONSES,
    ONE_SIDE,
    REPEATED,
    NoPairCounts,
)
from dpo_core.preferences.pairs import PreferencePair, chat_answer, normalized_prompt
from dpo_core.preferences.parse_row import half_pair, pair_from_row, shared_values

SAFE, HARMFUL = "safe", "harmful"


@dataclass(frozen=True)
class Labelled:
    """One labelled response to a prompt."""

    record: Record
    prompt: str
    """A text that is equal for all spellings of the prompt."""
    response: str
    """A text that is equal for all spellings of the response."""

    @property
    def label(self) -> str:
        """Return `safe` or `harmful`."""
        return str(self.record.row["label"])


@dataclass(frozen=True)
class _Prompt:
    """The responses to one prompt by label, the first spelling of each."""

    safe: dict[str, Labelled] = field(default_factory=dict)
    harmful: dict[str, Labelled] = field(default_factory=dict)


def red_team_pairs(
    responses: Iterable[Labelled], *, pairs_per_prompt: int, no_pair: NoPairCounts
) -> list[PreferencePair]:
    """Build the pairs of each prompt, in the order of its rows.

    Every response is used once, as far as their numbers allow, before one is used again.

    Args:
        responses: Labelled responses to any prompts.
        pairs_per_prompt: The most pairs of one prompt.
        no_pair: Counts the responses that are in no pair.

    Returns:
        The pairs, prompt by prompt.
    """
    prompts: dict[str, _Prompt] = {}
    for response in responses:
        prompt = prompts.setdefault(response.prompt, _Prompt())
        of_label = prompt.safe if response.label == SAFE else prompt.harmful
        if of_label.setdefault(response.response, response) is not response:
            no_pair.add(REPEATED, response.record.where)
    return [
        pair
        for prompt in prompts.values()
        for pair in _pairs_of_prompt(prompt, pairs_per_prompt, no_pair)
    ]


def _pairs_of_prompt(
    prompt: _Prompt, pairs_per_prompt: int, no_pair: NoPairCounts
) -> Iterator[PreferencePair]:
    for text in prompt.safe.keys() & prompt.harmful.keys():
        for response in (prompt.safe.pop(text), prompt.harmful.pop(text)):
            no_pair.add(BOTH_LABELS, response.record.where)
    safe, harmful = [*prompt.safe.values()], [*prompt.harmful.values()]
    matches = [*itertools.islice(_matches(len(safe), len(harmful)), pairs_per_prompt)]
    reason = CAPPED_RESPONSES if matches else ONE_SIDE
    used = {i for i, _ in matches}, {j for _, j in matches}
    for responses, positions in zip((safe, harmful), used, strict=True):
        for position, response in enumerate(responses):
            if position not in positions:
                no_pair.add(reason, response.record.where)
    return (_pair(safe[i].record, harmful[j].record) for i, j in matches)


def _matches(safe: int, harmful: int) -> Iterator[tuple[int, int]]:
    """Yield all pairs of positions of a safe and a harmful response, those of unused ones first."""
    if not safe or not harmful:
        return
    # Along the diagonals: (0, 0), (1, 1), ... and then (0, 1), (1, 2), ...
    longest = max(safe, harmful)
    for diagonal in range(longest):
        for i in range(safe):
            j = (i + diagonal) % longest
            if j < harmful:
                yield i, j


def read_red_team(record: Record) -> Labelled:
    """Check a record and return it. Raises DataError that begins with file and line."""
    row, where = record.row, record.where
    required = ("prompt", "response", "label")
    if not isinstance(row, Mapping) or any(name not in row for name in required):
        raise DataError(
            f"{where}: {preview(row)} must be an object with `prompt`, `response`, and `label`"
        )
    if row["label"] not in (SAFE, HARMFUL):
        raise DataError(f"{where}: label {preview(row['label'])} must be `safe` or `harmful`")
    pair = half_pair(row, "response", where=where, line=record.line)
    return Labelled(record, normalized_prompt(pair), normalize_turns(chat_answer(pair.chosen)))


def _pair(safe: Record, harmful: Record) -> PreferencePair:
    shared = shared_values(harmful.row) | {
        name: value for name, value in shared_values(safe.row).items() if value is not None
    }
    row = {**shared, "chosen": safe.row["response"], "rejected": harmful.row["response"]}
    return pair_from_row(row, where=safe.where, line=safe.line)
