"""What an audit holds, as JSON: made by the command and by `prepare`, which keeps it for the report.

audit.json: {"pairs": {split: n}, "prompts": n, "annotator_agreement": {source: α}, "lengths": {part:
{"p5": tokens}}, "histogram": {part: {"counts", "edges"}}, "rows_skipped": [why], "findings": [{"code",
"severity", "number", "is_share", "message", "remedy", "places"}]}, findings by severity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dpo_core.audit import WARNING, Finding, by_severity, lengths
from dpo_core.preferences import PairTable, PreferenceSplits
from dpo_core.tokens import TokenTable
from sweeps.paths import SPLITS

Said = Mapping[str, Any]
"""What reading the data said: `annotator_agreement` and `rows_skipped`."""


def audited(
    splits: PreferenceSplits,
    tokens: Mapping[str, TokenTable],
    findings: Sequence[Finding],
    said: Said,
) -> dict[str, Any]:
    encoded = TokenTable.joined(tokens[split] for split in SPLITS)
    tables = {split: PairTable.of(getattr(splits, split)) for split in SPLITS}
    every = [*findings, *_skipped(said["rows_skipped"])]
    return {
        **said,
        "pairs": {split: len(table) for split, table in tables.items()},
        "prompts": sum(len(table.groups.names) for table in tables.values()),
        "lengths": lengths(encoded),
        "histogram": {part: histogram(column) for part, column in encoded.lengths.items()},
        "findings": [finding.as_dict() for finding in by_severity(every)],
    }


def histogram(values: Any, bars: int = 16) -> dict[str, list[float]]:
    """Counts between evenly spaced edges."""
    counts, edges = np.histogram(values, bins=bars)
    return {"counts": counts.tolist(), "edges": edges.tolist()}


def skipped_rows(reasons: Sequence[str], shown: int = 3) -> str:
    """One line about rows that made no pair."""
    rest = f"; and {len(reasons) - shown} more" if len(reasons) > shown else ""
    return f"{len(reasons)} rows skipped: {'; '.join(reasons[:shown])}{rest}"


def _skipped(reasons: Sequence[str]) -> list[Finding]:
    if not reasons:
        return []
    message = skipped_rows(reasons).partition(" ")[2]
    return [Finding("skipped", WARNING, len(reasons), message, "correct the rows")]
