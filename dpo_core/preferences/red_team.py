"""Responses to red-team prompts become pairs of a safe and a harmful response to one prompt.

    {"prompt": "...", "response": "...", "label": "harmful", "category": "weapons"}

A row has one response, labelled `safe` or `harmful`. The pair keeps the category, by which accuracy
is broken down.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping

from dpo_core.errors import DataError
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.messages import check_answer, preview
from dpo_core.preferences.pairs import PreferencePair, chat_answer
from dpo_core.preferences.parse_row import pair_from_row
from dpo_core.preferences.read_messages import read_field

SAFE, HARMFUL = "safe", "harmful"


def red_team_pairs(records: Iterable[Record], *, pairs_per_prompt: int) -> list[PreferencePair]:
    """Return the pairs of each prompt, at most `pairs_per_prompt`, in the order of its rows.

    Every response is used once, as far as their numbers allow, before one is used again. Raises
    DataError when no prompt has responses of both labels.
    """
    prompts: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        key = json.dumps(record.row["prompt"], sort_keys=True, ensure_ascii=False)
        prompts.setdefault(key, {SAFE: [], HARMFUL: []})[record.row["label"]].append(record)
    pairs = [
        _pair(safe, harmful)
        for labelled in prompts.values()
        for safe, harmful in _matches(labelled[SAFE], labelled[HARMFUL])[:pairs_per_prompt]
    ]
    if prompts and not pairs:
        raise DataError(
            f"none of {len(prompts)} red-team prompts has both a safe and a harmful response, so "
            "there is no pair; label responses of the same prompt"
        )
    return pairs


def _matches(safe: list[Record], harmful: list[Record]) -> list[tuple[Record, Record]]:
    """Return all pairs of a safe and a harmful response, those of unused responses first."""
    indices = list(itertools.product(range(len(safe)), range(len(harmful))))
    # Along the diagonals: (0, 0), (1, 1), ... and then (0, 1), (1, 2), ...
    indices.sort(key=lambda ij: ((ij[1] - ij[0]) % max(len(safe), len(harmful)), ij))
    return [(safe[i], harmful[j]) for i, j in indices]


def read_red_team(record: Record) -> Record:
    """Check a record and return it. Raises DataError that begins with file and line."""
    row, where = record.row, record.where
    required = ("prompt", "response", "label")
    if not isinstance(row, Mapping) or any(name not in row for name in required):
        raise DataError(
            f"{where}: {preview(row)} must be an object with `prompt`, `response`, and `label`"
        )
    if row["label"] not in (SAFE, HARMFUL):
        raise DataError(f"{where}: label {preview(row['label'])} must be `safe` or `harmful`")
    read_field(row["prompt"], f"{where}: prompt")
    check_answer(
        chat_answer(read_field(row["response"], f"{where}: response")), f"{where}: response"
    )
    return record


def _pair(safe: Record, harmful: Record) -> PreferencePair:
    row = {
        "prompt": safe.row["prompt"],
        "chosen": safe.row["response"],
        "rejected": harmful.row["response"],
        "category": safe.row.get("category") or harmful.row.get("category"),
    }
    return pair_from_row(row, where=safe.where, line=safe.line)
