"""Rankings of several responses to a prompt become preference pairs.

    {"prompt": "...", "responses": ["a", "b", "c"], "ranks": [2, 1, 3], "annotator": "ann"}

Rank 1 is the best; a larger score is better. Rows with the same prompt and the same responses are
the rankings of several annotators, and their numbers are averaged; prompts and responses that differ
in spelling alone (see `normalization`) are the same. Two responses with equal numbers are tied and
make no pair.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dpo_core.errors import DataError
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.messages import preview
from dpo_core.preferences.normalization import normalize_turns
from dpo_core.preferences.notes.no_pair import (
    CAPPED_PAIRS,
    ONE_RESPONSE,
    REPEATED,
    SMALL_GAPS,
    TIES,
    UNRATED,
    NoPair,
    NoPairCounts,
)
from dpo_core.preferences.pairs import PreferencePair, chat_answer, normalized_prompt
from dpo_core.preferences.parse_row import (
    half_pair,
    pair_from_row,
    read_answer,
    shared_values,
)


@dataclass(frozen=True)
class Ranking:
    """One annotator's ranking of the responses to one prompt."""

    record: Record
    prompt: str  # equal for all spellings of the prompt
    responses: dict[str, object]  # by normalized text; a repeated response counts once
    scores: dict[str, float]  # by normalized text; larger is better
    ordinal: bool  # made from ranks, so only their order counts
    annotator: str
    rated: tuple[str, ...]  # normalized texts of all responses with a number, in the row's order

    @property
    def subject(self) -> tuple[str, ...]:
        """Return what is equal for the same prompt and responses, in whatever order."""
        return self.prompt, *sorted(self.responses)


class _Comparison(NamedTuple):
    gap: float
    ranking: Ranking
    chosen: str
    rejected: str


def ranking_pairs(
    rankings: Sequence[Ranking],
    *,
    rule: str,
    pairs_per_prompt: int,
    min_gap: float,
    no_pair: NoPairCounts,
) -> list[PreferencePair]:
    """Build the preference pairs of all rankings.

    Args:
        rankings: Rankings of any prompts; those of the same prompt and responses are averaged.
        rule: `adjacent` pairs neighbours in the order, `best_worst` the two ends, `all` any two.
        pairs_per_prompt: The most pairs of one prompt; those with the largest gaps are kept.
        min_gap: The smallest difference of mean score (or mean rank) that makes a pair. A tie never
            makes one.
        no_pair: Counts the comparisons that make no pair.

    Returns:
        Pairs prompt by prompt, those with the largest gap first.
    """
    prompts: dict[str, list[_Comparison]] = {}
    for subject in _by_subject(rankings).values():
        comparisons = prompts.setdefault(subject[0].prompt, [])
        comparisons += _wide_enough(_comparisons(subject, rule), min_gap, no_pair)
    pairs = []
    for comparisons in prompts.values():
        comparisons.sort(key=lambda comparison: -comparison.gap)
        pairs += [_pair(comparison) for comparison in comparisons[:pairs_per_prompt]]
        for comparison in comparisons[pairs_per_prompt:]:
            no_pair.add(CAPPED_PAIRS, comparison.ranking.record.where)
    return pairs


def _comparisons(subject: Sequence[Ranking], rule: str) -> Iterable[_Comparison]:
    first, scores = subject[0], _mean_scores(subject)
    # The sort is stable, so ties keep the order of the row.
    order = sorted(scores, key=lambda text: -scores[text])
    for better, worse in _pairs_by_rule(order, rule):
        yield _Comparison(scores[better] - scores[worse], first, better, worse)


def _wide_enough(
    comparisons: Iterable[_Comparison], min_gap: float, no_pair: NoPairCounts
) -> Iterable[_Comparison]:
    for comparison in comparisons:
        if comparison.gap > 0 and comparison.gap >= min_gap:
            yield comparison
        else:
            reason = SMALL_GAPS if comparison.gap > 0 else TIES
            no_pair.add(reason, comparison.ranking.record.where)


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
    units: dict[tuple[tuple[str, ...], str], int] = {}
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


class RankingReader:
    """Reads the rankings of one source."""

    def __init__(self, no_pair: NoPairCounts) -> None:
        self.no_pair = no_pair
        self._first: dict[tuple[str, ...], Ranking] = {}

    def read(self, record: Record) -> Ranking:
        """Check a record and return its ranking.

        Raises:
            DataError: It is no ranking, or has ranks where an earlier one of the same responses has
                scores; the error begins with file and line.
            NoPair: It has fewer than two different responses.
        """
        ranking = read_ranking(record)
        rated = len(ranking.rated)
        self.no_pair.add(UNRATED, record.where, len(record.row["responses"]) - rated)
        self.no_pair.add(REPEATED, record.where, rated - len(ranking.responses))
        first = self._first.setdefault(ranking.subject, ranking)
        if ranking.ordinal != first.ordinal:
            raise DataError(
                f"{record.where}: ranks and scores for the same responses as in "
                f"{first.record.where}; give one kind"
            )
        return ranking


def read_ranking(record: Record) -> Ranking:
    """Check a record and return its ranking.

    Raises:
        DataError: It is no ranking; the error begins with file and line.
        NoPair: It has fewer than two different responses.
    """
    row, where = record.row, record.where
    if not isinstance(row, Mapping) or not {"prompt", "responses"} <= set(row):
        raise DataError(
            f"{where}: {preview(row)} must be an object with `prompt`, `responses`, and `ranks` or "
            "`scores`"
        )
    name, every_number = _numbers(row, where)
    rated = [
        (normalize_turns(chat_answer(read_answer(response, f"{where}: response {n}"))), response)
        for n, (response, number) in enumerate(zip(row["responses"], every_number, strict=True), 1)
        if number is not None
    ]
    texts = [text for text, _ in rated]
    if len(set(texts)) < 2:
        raise NoPair(ONE_RESPONSE)
    half = half_pair({**row, "response": rated[0][1]}, "response", where=where)
    sign = -1.0 if name == "ranks" else 1.0
    numbers = [number for number in every_number if number is not None]
    return Ranking(
        record,
        normalized_prompt(half),
        dict(reversed(rated)),
        {text: sign * _mean_of(text, texts, numbers) for text in dict.fromkeys(texts)},
        name == "ranks",
        str(row.get("annotator") or ""),
        tuple(texts),
    )


def _numbers(row: Mapping[str, object], where: str) -> tuple[str, list[float | None]]:
    """Return `ranks` or `scores`, whichever the row has, and its numbers, one a response or null."""
    kinds = [name for name in ("ranks", "scores") if row.get(name) is not None]
    if len(kinds) != 1:
        raise DataError(
            f"{where}: has {' and '.join(kinds) or 'neither'}; give either `ranks` (1 is best) or "
            "`scores` (larger is better)"
        )
    (name,) = kinds
    responses, numbers = row["responses"], row[name]
    if not isinstance(responses, list):
        raise DataError(f"{where}: responses {preview(responses)} must be a list of answers")
    if not isinstance(numbers, list) or len(numbers) != len(responses):
        raise DataError(
            f"{where}: {name} {preview(numbers)} must be a list of {len(responses)} numbers, one per "
            "response"
        )
    for number in numbers:
        if number is None:
            continue
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise DataError(f"{where}: {name} holds {preview(number)}; give numbers")
        if not math.isfinite(number):
            raise DataError(f"{where}: {name} holds {number}; give finite numbers")
    return name, numbers


def _mean_of(text: str, texts: Sequence[str], numbers: Sequence[float]) -> float:
    """Return the mean number of a response, which an annotator may have ranked twice."""
    return statistics.mean(n for other, n in zip(texts, numbers, strict=True) if other == text)


def _by_subject(rankings: Sequence[Ranking]) -> dict[tuple[str, ...], list[Ranking]]:
    by_subject: dict[tuple[str, ...], list[Ranking]] = {}
    for ranking in rankings:
        by_subject.setdefault(ranking.subject, []).append(ranking)
    return by_subject


def _mean_scores(subject: Sequence[Ranking]) -> dict[str, float]:
    """Return each response's mean score over all annotators, in the order of the first row."""
    return {text: statistics.mean(r.scores[text] for r in subject) for text in subject[0].scores}


def _pairs_by_rule(order: Sequence[str], rule: str) -> Iterable[tuple[str, str]]:
    if rule == "adjacent":
        return itertools.pairwise(order)
    if rule == "best_worst":
        return [(order[0], order[-1])]
    return itertools.combinations(order, 2)


def _pair(comparison: _Comparison) -> PreferencePair:
    record, responses = comparison.ranking.record, comparison.ranking.responses
    row = {
        **shared_values(record.row),
        "chosen": responses[comparison.chosen],
        "rejected": responses[comparison.rejected],
    }
    return pair_from_row(row, where=record.where, line=record.line)
