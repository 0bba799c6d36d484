"""Findings about the rows as they were read: bad ones, those that make no pair, scores that disagree.

Tested in tests/unit/sweeps/prepare/test_reading_findings.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dpo_core.audit.findings import INFO, SEVERE, SHOWN, WARNING, Finding
from dpo_core.preferences.messages import EMPTY_ANSWER
from dpo_core.preferences.notes.no_pair import (
    BOTH_LABELS,
    CAPPED_PAIRS,
    CAPPED_RESPONSES,
    ONE_RESPONSE,
    ONE_SIDE,
    REPEATED,
    SMALL_GAPS,
    TIES,
    UNRATED,
)
from dpo_core.preferences.parse_row import SAME_ANSWER
from dpo_core.wording import counted
from sweeps.run_dir.json_types import NoPairJson, ReadingReport, ScoreCountsJson

MANY_NO_PAIR, MANY_EQUAL, MANY_AGAINST, MOST_AGAINST = 0.1, 0.05, 0.01, 0.5
_REMEDIES = {
    TIES: "nothing: a tie is no preference",
    SMALL_GAPS: "nothing, or a smaller min_gap of the source",
    CAPPED_PAIRS: "nothing, or a larger pairs_per_prompt of the source",
    CAPPED_RESPONSES: "nothing, or a larger pairs_per_prompt of the source",
    ONE_SIDE: "add responses of the other label to these prompts, or drop the rows",
    BOTH_LABELS: "keep the label that is right",
    REPEATED: "nothing: each counts once",
    UNRATED: "nothing, or add the numbers",
    ONE_RESPONSE: "nothing, or other responses to these prompts",
}
# These are as the settings or the annotators want them, however many there are.
_EXPECTED = {TIES, SMALL_GAPS, CAPPED_PAIRS, CAPPED_RESPONSES, REPEATED}


def reading_findings(reading: ReadingReport) -> list[Finding]:
    """Report what reading the data found, but for bad rows.

    Args:
        reading: What reading found.

    Returns:
        Findings of any severity.
    """
    return [
        *_left_out(reading["rows_left_out"]),
        *_no_pairs(reading.get("no_pair", {})),
        *_scores(reading.get("row_scores", {})),
    ]


def bad_row_findings(reasons: Sequence[str], refused: bool) -> Iterator[Finding]:
    """Report the rows that cannot be used.

    Args:
        reasons: Why, one a row.
        refused: Whether a run would stop at them.

    Yields:
        One finding, if there are any.
    """
    if not reasons:
        return
    kinds = {"the same answer twice": SAME_ANSWER, "an empty answer": EMPTY_ANSWER}
    counts = {kind: sum(words in reason for reason in reasons) for kind, words in kinds.items()}
    kinds_text = ", ".join(f"{count} with {kind}" for kind, count in counts.items() if count)
    yield Finding(
        "bad_rows",
        SEVERE if refused else WARNING,
        len(reasons),
        f"rows make no pair{f' ({kinds_text})' if kinds_text else ''}; "
        + ("a run stops at them" if refused else "they are left out"),
        "correct them" + (", or leave them out with data.on_bad_row: skip" if refused else ""),
        tuple(reasons[:SHOWN]),
    )


def _left_out(rows: Sequence[str]) -> Iterator[Finding]:
    """Report the pairs that are in no split."""
    if rows:
        yield Finding(
            "left_out",
            WARNING,
            len(rows),
            "pairs are in no split: their prompts are nearly the same as prompts of a split with a file "
            "of its own, or would join training with a final split that was opened before",
            "nothing, unless they are many: then give final a file of its own with other prompts",
            tuple(rows[:SHOWN]),
        )


def _no_pairs(sources: Mapping[str, NoPairJson]) -> Iterator[Finding]:
    for source, no_pair in sources.items():
        for reason, count in no_pair["counts"].items():
            is_many = count > MANY_NO_PAIR * no_pair["rows"] and reason not in _EXPECTED
            yield Finding(
                "no_pair",
                WARNING if is_many else INFO,
                count,
                f"{reason} make no pair (source {source}, {counted(no_pair['rows'], 'row')})",
                _REMEDIES.get(reason, ""),
                tuple(no_pair["places"].get(reason, ())),
            )


def _scores(sources: Mapping[str, Mapping[str, ScoreCountsJson]]) -> Iterator[Finding]:
    for source, by_columns in sources.items():
        for columns, counts in by_columns.items():
            where = f"(columns {columns} of source {source}, {counted(counts['rows'], 'row')})"
            if counts["equal"]:
                yield Finding(
                    "equal_scores",
                    WARNING if counts["equal"] > MANY_EQUAL * counts["rows"] else INFO,
                    counts["equal"],
                    f"rows have the same score for both answers {where}: they are ties that are taken "
                    "as a preference",
                    "drop them, unless people chose between the answers",
                    tuple(counts["equal_places"]),
                )
            if counts["against"]:
                yield Finding(
                    "negative_margins",
                    _severity_against(counts["against"] / counts["rows"]),
                    counts["against"],
                    f"rows have a larger score for the rejected answer {where}: the scores say the "
                    "opposite of the preference",
                    "find out which is right; then drop these rows, or swap chosen and rejected",
                    tuple(counts["against_places"]),
                )


def _severity_against(share: float) -> str:
    if share > MOST_AGAINST:
        return SEVERE
    return WARNING if share > MANY_AGAINST else INFO
