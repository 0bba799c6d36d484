"""Rows of one response and its score become rankings: one of each prompt, over all of its rows.

Tested in tests/unit/dpo_core/columns/test_published.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from dpo_core.errors import DataError
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.messages import preview
from dpo_core.preferences.notes.no_pair import NoPair, NoPairCounts
from dpo_core.preferences.pairs import normalized_prompt
from dpo_core.preferences.parse_row import half_pair
from dpo_core.preferences.rankings import Ranking, read_ranking


class Scored(NamedTuple):
    """A response with its score, and its prompt as a text that is equal for all spellings."""

    record: Record
    prompt: str


def read_scored(record: Record) -> Scored:
    """Check a record and return it. Raises DataError that begins with file and line."""
    row, where = record.row, record.where
    score = row["score"]
    if isinstance(score, str):  # a cell of a CSV file
        row = row | {"score": _number(score)}
        score = row["score"]
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise DataError(f"{where}: score {preview(record.row['score'])} must be a finite number")
    pair = half_pair(row, "response", where=where, line=record.line)
    return Scored(record._replace(row=row), normalized_prompt(pair))


def rankings_of_scored(rows: Iterable[Scored], no_pair: NoPairCounts) -> list[Ranking]:
    """Return one ranking of all responses to each prompt, in the order of their first rows."""
    prompts: dict[str, list[Record]] = {}
    for row in rows:
        prompts.setdefault(row.prompt, []).append(row.record)
    rankings = []
    for records in prompts.values():
        try:
            rankings.append(read_ranking(_joined(records)))
        except NoPair as reason:
            no_pair.add(str(reason), records[0].where)
    return rankings


def _joined(records: list[Record]) -> Record:
    first = records[0]
    shared = {name: value for name, value in first.row.items() if name not in ("response", "score")}
    columns = {
        f"{name}s": [record.row[name] for record in records] for name in ("response", "score")
    }
    return first._replace(row=shared | columns)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
