"""Red-team prompts become pairs: every safe response against every harmful one of its prompt.

    {"prompt": "...", "response": "...", "label": "harmful", "category": "weapons"}

One response a row. `label` is `safe` or `harmful`; the category stays with the pair, so that
accuracy can be told apart by it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any

from dpo_core.errors import DataError
from dpo_core.preferences.messages import check_answer, preview, read_field
from dpo_core.preferences.pairs import PreferencePair, chat_answer
from dpo_core.preferences.parse_row import pair_from_row
from dpo_core.preferences.readers import Record

SAFE, HARMFUL = "safe", "harmful"


def red_team_pairs(records: Iterable[Record], *, pairs_per_prompt: int) -> list[PreferencePair]:
    """Pairs of each prompt in the order of its rows, at most `pairs_per_prompt`.

    As far as their numbers allow, each response is used once before one is used again. Raises
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
    every = list(itertools.product(range(len(safe)), range(len(harmful))))
    # Along the diagonals: (0, 0), (1, 1), ... and then (0, 1), (1, 2), ...
    every.sort(key=lambda ij: ((ij[1] - ij[0]) % max(len(safe), len(harmful)), ij))
    return [(safe[i], harmful[j]) for i, j in every]


def read_red_team(record: Record) -> Record:
    """The record, checked. Raises DataError that begins with its place."""
    row, where = record.row, record.where
    wanted = ("prompt", "response", "label")
    if not isinstance(row, Mapping) or any(name not in row for name in wanted):
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
    row: dict[str, Any] = {
        "prompt": safe.row["prompt"],
        "chosen": safe.row["response"],
        "rejected": harmful.row["response"],
        "category": safe.row.get("category") or harmful.row.get("category"),
    }
    return pair_from_row(row, where=safe.where, line=safe.line)
