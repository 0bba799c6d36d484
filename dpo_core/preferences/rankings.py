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
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpo_core.errors import DataError
from dpo_core.preferences.messages import check_answer, check_prompt, preview, read_field
from dpo_core.preferences.pairs import PreferencePair, chat_answer, chat_prompt
from dpo_core.preferences.parse_row import pair_from_row
from dpo_core.preferences.readers import Record

RULES = ("adjacent", "best_worst", "all")


@dataclass(frozen=True)
class Ranking:
    """One annotator about one prompt. `scores` are better the larger, one a response."""

    record: Record
    responses: dict[str, Any]  # by their canonical text; the same one given twice is one
    scores: dict[str, float]  # of the same texts
    ordinal: bool  # they were ranks, so only their order counts
    annotator: str
    subject: str  # what it is about: equal for the same prompt and responses, in whatever order


def ranking_pairs(
    rankings: Sequence[Ranking], *, rule: str, pairs_per_prompt: int, min_gap: float
) -> list[PreferencePair]:
    """Pairs of each prompt by `rule`, those with the largest gap first, at most `pairs_per_prompt`.

    `adjacent`: neighbours in the order; `best_worst`: the two ends; `all`: any two. Only gaps of at
    least `min_gap` (of mean score, or mean rank) count, and never a tie.
    """
    pairs = []
    for subject in _by_subject(rankings).values():
        first, scores = subject[0], _mean_scores(subject)
        order = sorted(scores, key=lambda text: -scores[text])  # stable: ties as they came
        chances = [(scores[a] - scores[b], a, b) for a, b in _candidates(order, rule)]
        good = [chance for chance in chances if chance[0] > 0 and chance[0] >= min_gap]
        good.sort(key=lambda chance: -chance[0])
        pairs += [_pair(first, a, b) for _, a, b in good[:pairs_per_prompt]]
    return pairs


def agreement(rankings: Sequence[Ranking]) -> float | None:
    """Krippendorff's α over annotators (rows) and responses (units): 1 is full agreement, 0 is
    chance. Ordinal for ranks, interval for scores; None for both together, and unless two of them
    judged the same responses."""
    import krippendorff
    import numpy as np

    # What one person alone has judged says nothing about agreement.
    rankings = [
        ranking
        for subject in _by_subject(rankings).values()
        if len({ranking.annotator for ranking in subject}) > 1
        for ranking in subject
    ]
    if len({ranking.ordinal for ranking in rankings}) != 1:
        return None
    units: dict[tuple[str, str], int] = {}
    raters: dict[str, int] = {}
    values = []
    for ranking in rankings:
        rater = raters.setdefault(ranking.annotator, len(raters))
        for text, score in ranking.scores.items():
            unit = ranking.subject, text
            values.append((rater, units.setdefault(unit, len(units)), score))
    table = np.full((len(raters), len(units)), np.nan)
    for rater, column, score in values:
        table[rater, column] = score
    if len(set(table[~np.isnan(table)])) < 2:  # all ties: α divides by their spread
        return None
    level = "ordinal" if rankings[0].ordinal else "interval"
    return float(krippendorff.alpha(reliability_data=table, level_of_measurement=level))


def read_ranking(record: Record) -> Ranking:
    """A row, checked. Raises DataError that begins with its place."""
    row, where = record.row, record.where
    if not isinstance(row, Mapping) or not {"prompt", "responses"} <= set(row):
        raise DataError(
            f"{where}: {preview(row)} must be an object with `prompt`, `responses`, and `ranks` or "
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
        raise DataError(f"{where}: responses {preview(responses)} must be a list of two or more")
    if not isinstance(numbers, list) or len(numbers) != len(responses):
        raise DataError(
            f"{where}: {name} {preview(numbers)} must be a list of {len(responses)} numbers, one per "
            "response"
        )
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise DataError(f"{where}: {name} holds {preview(number)}; give numbers")
        if not math.isfinite(number):
            raise DataError(f"{where}: {name} holds {number}; give finite numbers")
    prompt = chat_prompt(read_field(row["prompt"], f"{where}: prompt"))
    check_prompt(prompt, f"{where}: prompt")
    texts = [
        _canonical(response, f"{where}: response {n}") for n, response in enumerate(responses, 1)
    ]
    sign = -1.0 if name == "ranks" else 1.0
    return Ranking(
        record,
        dict(zip(reversed(texts), reversed(responses), strict=True)),
        {text: sign * statistics.mean(_of(text, texts, numbers)) for text in dict.fromkeys(texts)},
        name == "ranks",
        str(row.get("annotator") or ""),
        json.dumps([prompt, sorted(set(texts))], sort_keys=True),
    )


def _of(text: str, texts: Sequence[str], numbers: Sequence[float]) -> list[float]:
    return [number for other, number in zip(texts, numbers, strict=True) if other == text]


def _by_subject(rankings: Sequence[Ranking]) -> dict[str, list[Ranking]]:
    found: dict[str, list[Ranking]] = {}
    for ranking in rankings:
        found.setdefault(ranking.subject, []).append(ranking)
    return found


def _mean_scores(subject: Sequence[Ranking]) -> dict[str, float]:
    """Each response's mean over all annotators, in the order of the first row."""
    first = subject[0]
    for ranking in subject:
        if ranking.ordinal != first.ordinal:
            raise DataError(
                f"{ranking.record.where}: ranks and scores for the same responses as in "
                f"{first.record.where}; give one kind"
            )
    return {text: statistics.mean(r.scores[text] for r in subject) for text in first.scores}


def _candidates(order: Sequence[str], rule: str) -> Iterable[tuple[str, str]]:
    if rule == "adjacent":
        return itertools.pairwise(order)
    if rule == "best_worst":
        return [(order[0], order[-1])]
    return itertools.combinations(order, 2)


def _pair(ranking: Ranking, chosen: str, rejected: str) -> PreferencePair:
    record = ranking.record
    row = {
        "prompt": record.row["prompt"],
        "chosen": ranking.responses[chosen],
        "rejected": ranking.responses[rejected],
        "category": record.row.get("category"),
    }
    return pair_from_row(row, where=record.where, line=record.line)


def _canonical(response: Any, where: str) -> str:
    """Equal for responses that say the same. Raises DataError unless it is an answer."""
    answer = chat_answer(read_field(response, where))
    check_answer(answer, where)
    return json.dumps([[m["role"], m["content"].strip()] for m in answer])
