"""Rankings of several responses to a prompt become preference pairs.

    {"prompt": "...", "responses": ["a", "b", "c"], "ranks": [2, 1, 3], "annotator": "ann"}

Rank 1 is the best; a larger score is better. Rows with the same prompt and the same responses are
the rankings of several annotators, and their numbers are averaged. Two responses with equal numbers
are tied and make no pair.
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dpo_core.errors import DataError
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.messages import check_answer, check_prompt, content_of, preview
from dpo_core.preferences.pairs import PreferencePair, chat_answer, chat_prompt
from dpo_core.preferences.parse_row import pair_from_row
from dpo_core.preferences.read_messages import read_field


@dataclass(frozen=True)
class Ranking:
    """One annotator's ranking of the responses to one prompt."""

    record: Record
    responses: dict[str, object]  # by canonical text; a repeated response counts once
    scores: dict[str, float]  # by canonical text; larger is better
    ordinal: bool  # made from ranks, so only their order counts
    annotator: str
    subject: str  # equal for the same prompt and responses, in whatever order


def ranking_pairs(
    rankings: Sequence[Ranking], *, rule: str, pairs_per_prompt: int, min_gap: float
) -> list[PreferencePair]:
    """Build the preference pairs of all rankings.

    Args:
        rankings: Rankings of any prompts; those of the same prompt and responses are averaged.
        rule: `adjacent` pairs neighbours in the order, `best_worst` the two ends, `all` any two.
        pairs_per_prompt: The most pairs of one prompt; those with the largest gaps are kept.
        min_gap: The smallest difference of mean score (or mean rank) that makes a pair. A tie never
            makes one.

    Returns:
        Pairs prompt by prompt, those with the largest gap first.

    Raises:
        DataError: The same responses have ranks in one row and scores in another.
    """
    pairs = []
    for subject in _by_subject(rankings).values():
        first, scores = subject[0], _mean_scores(subject)
        # The sort is stable, so ties keep the order of the row.
        order = sorted(scores, key=lambda text: -scores[text])
        gaps = [(scores[a] - scores[b], a, b) for a, b in _pairs_by_rule(order, rule)]
        wide = [gap for gap in gaps if gap[0] > 0 and gap[0] >= min_gap]
        wide.sort(key=lambda gap: -gap[0])
        pairs += [_pair(first, a, b) for _, a, b in wide[:pairs_per_prompt]]
    return pairs


def annotator_agreement(rankings: Sequence[Ranking]) -> float | None:
    """Compute how much annotators agree: Krippendorff's α, 1 for full agreement, 0 for chance.

    The units are responses. Ranks are compared on an ordinal scale, scores on an interval scale.
    Returns None when there are both, when no two annotators ranked the same responses, and when all
    their numbers are equal.
    """
    import krippendorff
    import numpy as np

    # Responses that one annotator alone has ranked say nothing about agreement.
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
    if (
        len(set(table[~np.isnan(table)])) < 2
    ):  # all numbers are equal: α would divide by their spread
        return None
    level = "ordinal" if rankings[0].ordinal else "interval"
    return float(krippendorff.alpha(reliability_data=table, level_of_measurement=level))


def read_ranking(record: Record) -> Ranking:
    """Check a record and return its ranking. Raises DataError that begins with file and line."""
    row, where = record.row, record.where
    if not isinstance(row, Mapping) or not {"prompt", "responses"} <= set(row):
        raise DataError(
            f"{where}: {preview(row)} must be an object with `prompt`, `responses`, and `ranks` or "
            "`scores`"
        )
    kinds = [name for name in ("ranks", "scores") if row.get(name) is not None]
    if len(kinds) != 1:
        raise DataError(
            f"{where}: has {' and '.join(kinds) or 'neither'}; give either `ranks` (1 is best) or "
            "`scores` (larger is better)"
        )
    (name,) = kinds
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
        {text: sign * _mean_of(text, texts, numbers) for text in dict.fromkeys(texts)},
        name == "ranks",
        str(row.get("annotator") or ""),
        json.dumps([prompt, sorted(set(texts))], sort_keys=True),
    )


def _mean_of(text: str, texts: Sequence[str], numbers: Sequence[float]) -> float:
    """Return the mean number of a response, which an annotator may have ranked twice."""
    return statistics.mean(n for other, n in zip(texts, numbers, strict=True) if other == text)


def _by_subject(rankings: Sequence[Ranking]) -> dict[str, list[Ranking]]:
    by_subject: dict[str, list[Ranking]] = {}
    for ranking in rankings:
        by_subject.setdefault(ranking.subject, []).append(ranking)
    return by_subject


def _mean_scores(subject: Sequence[Ranking]) -> dict[str, float]:
    """Return each response's mean score over all annotators, in the order of the first row."""
    first = subject[0]
    for ranking in subject:
        if ranking.ordinal != first.ordinal:
            raise DataError(
                f"{ranking.record.where}: ranks and scores for the same responses as in "
                f"{first.record.where}; give one kind"
            )
    return {text: statistics.mean(r.scores[text] for r in subject) for text in first.scores}


def _pairs_by_rule(order: Sequence[str], rule: str) -> Iterable[tuple[str, str]]:
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


def _canonical(response: object, where: str) -> str:
    """Return a text that is equal for equal answers. Raises DataError if the response is no answer."""
    answer = chat_answer(read_field(response, where))
    check_answer(answer, where)
    return json.dumps([{**m, "content": content_of(m).strip()} for m in answer], sort_keys=True)
