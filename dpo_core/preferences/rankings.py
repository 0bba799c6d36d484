"""Rankings by annotators become pairs: a prompt, several responses, and ranks or scores for them.

    {"prompt": "...", "responses": ["a", "b", "c"], "ranks": [2, 1, 3], "annotator": "ann"}

`ranks` count from the best (1), `scores` are better the larger. Rows with the same prompt and the
same responses are the words of several annotators about one thing: their numbers are averaged.
Equal numbers are a tie, and a tie is no preference.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpo_core.errors import DataError
from dpo_core.preferences.messages import Turns, shown
from dpo_core.preferences.pairs import PreferencePair, chat_answer, chat_prompt
from dpo_core.preferences.readers import Record
from dpo_core.preferences.rows import pair_from_row

RULES = ("adjacent", "best_worst", "all")


@dataclass(frozen=True)
class Ranking:
    """One annotator about one prompt. `scores` are better the larger, one a response."""

    record: Record
    responses: tuple[Any, ...]
    scores: tuple[float, ...]
    ordinal: bool  # they were ranks, so only their order counts
    annotator: str

    @property
    def subject(self) -> str:
        """What it is about: equal for the same prompt and responses, in whatever order."""
        texts = sorted(_canonical(chat_answer(r)) for r in map(_content, self.responses))
        return json.dumps([_canonical(chat_prompt(_content(self.record.row["prompt"]))), texts])


def ranking_pairs(
    rankings: Sequence[Ranking], *, rule: str, pairs_per_prompt: int, min_gap: float
) -> list[PreferencePair]:
    """Pairs of each prompt by `rule`, those with the largest gap first, at most `pairs_per_prompt`.

    `adjacent`: neighbours in the order; `best_worst`: the two ends; `all`: any two. Only gaps of at
    least `min_gap` (of mean score, or mean rank) count, and never a tie.
    """
    pairs = []
    for subject in _by_subject(rankings).values():
        first, responses, scores = _combined(subject)
        order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
        chances = [(scores[a] - scores[b], a, b) for a, b in _candidates(order, rule)]
        good = sorted(
            (c for c in chances if c[0] > 0 and c[0] >= min_gap), key=lambda c: (-c[0], c[1:])
        )
        pairs += [_pair(first, responses[a], responses[b]) for _, a, b in good[:pairs_per_prompt]]
    return pairs


def agreement(rankings: Sequence[Ranking]) -> float | None:
    """Krippendorff's α over annotators (rows) and responses (units): 1 is full agreement, 0 is
    chance. Ordinal for ranks, interval for scores; None unless two of them judged one response."""
    import krippendorff
    import numpy as np

    units: dict[tuple[str, str], int] = {}
    raters: dict[str, int] = {}
    values = []
    for ranking in rankings:
        rater = raters.setdefault(ranking.annotator, len(raters))
        for response, score in zip(ranking.responses, ranking.scores, strict=True):
            unit = ranking.subject, _canonical(chat_answer(_content(response)))
            values.append((rater, units.setdefault(unit, len(units)), score))
    table = np.full((len(raters), len(units)), np.nan)
    for rater, column, score in values:
        table[rater, column] = score
    if ((~np.isnan(table)).sum(0) < 2).all() or len(set(table[~np.isnan(table)])) < 2:
        return None
    level = "ordinal" if all(r.ordinal for r in rankings) else "interval"
    return float(krippendorff.alpha(reliability_data=table, level_of_measurement=level))


def read_ranking(record: Record) -> Ranking:
    """A row, checked. Raises DataError that begins with its place."""
    row, where = record.row, record.where
    if not isinstance(row, Mapping) or not {"prompt", "responses"} <= set(row):
        raise DataError(
            f"{where}: {shown(row)} must be an object with `prompt`, `responses`, and `ranks` or "
            "`scores`"
        )
    given = [name for name in ("ranks", "scores") if row.get(name) is not None]
    if len(given) != 1:
        raise DataError(
            f"{where}: has {' and '.join(given) or 'neither'}; give either `ranks` (1 is best) or "
            "`scores` (larger is better)"
        )
    (name,) = given
    responses, numbers = row["responses"], row[name]
    if not isinstance(responses, list) or len(responses) < 2:
        raise DataError(f"{where}: responses {shown(responses)} must be a list of two or more")
    if not isinstance(numbers, list) or len(numbers) != len(responses):
        raise DataError(
            f"{where}: {name} {shown(numbers)} must be a list of {len(responses)} numbers, one a "
            "response"
        )
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise DataError(f"{where}: {name} holds {shown(number)}; give numbers")
        if not math.isfinite(number):
            raise DataError(f"{where}: {name} holds {number}; give finite numbers")
    sign = -1.0 if name == "ranks" else 1.0
    annotator = str(row.get("annotator") or "")
    scores = tuple(sign * n for n in numbers)
    return Ranking(record, tuple(responses), scores, name == "ranks", annotator)


def _by_subject(rankings: Sequence[Ranking]) -> dict[str, list[Ranking]]:
    found: dict[str, list[Ranking]] = {}
    for ranking in rankings:
        found.setdefault(ranking.subject, []).append(ranking)
    return found


def _combined(subject: Sequence[Ranking]) -> tuple[Record, tuple[Any, ...], list[float]]:
    """The first row, its responses, and the mean of all annotators' numbers for each of them."""
    first = subject[0]
    for ranking in subject:
        if ranking.ordinal != first.ordinal:
            raise DataError(
                f"{ranking.record.where}: ranks and scores for the same responses as in "
                f"{first.record.where}; give one kind"
            )
    by_text: dict[str, list[float]] = {}
    for ranking in subject:
        for response, score in zip(ranking.responses, ranking.scores, strict=True):
            by_text.setdefault(_canonical(chat_answer(_content(response))), []).append(score)
    means = {text: sum(scores) / len(scores) for text, scores in by_text.items()}
    once = {_canonical(chat_answer(_content(r))): r for r in reversed(first.responses)}
    texts = list(dict.fromkeys(_canonical(chat_answer(_content(r))) for r in first.responses))
    return first.record, tuple(once[t] for t in texts), [means[t] for t in texts]


def _candidates(order: Sequence[int], rule: str) -> Iterable[tuple[int, int]]:
    if rule == "adjacent":
        return itertools.pairwise(order)
    if rule == "best_worst":
        return [(order[0], order[-1])]
    return itertools.combinations(order, 2)


def _pair(record: Record, chosen: Any, rejected: Any) -> PreferencePair:
    row = {
        "prompt": record.row["prompt"],
        "chosen": chosen,
        "rejected": rejected,
        "category": record.row.get("category"),
    }
    return pair_from_row(row, where=record.where, line=record.line)


def _content(value: Any) -> Any:
    """As `chat_prompt` and `chat_answer` take it: a string, or a tuple of messages."""
    return tuple(value) if isinstance(value, list) else value


def _canonical(turns: Turns) -> str:
    return json.dumps(list(turns), ensure_ascii=False, sort_keys=True, default=str)
