"""What an audit holds, as JSON: made by the command and by `prepare`, which keeps it for the report.

audit.json: {"pairs": {split: n}, "prompts": n, "annotator_agreement": {source: α}, "lengths": {part:
{"p5": tokens}}, "histogram": {part: {"counts", "edges"}}, "rows_skipped": [why], "findings": [{"code",
"severity", "number", "is_share", "message", "remedy", "places"}]}, findings by severity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dpo_core.audit.pair_checks import SEVERE, WARNING, Finding, by_severity, length_percentiles
from dpo_core.encoding.token_table import TokenTable
from dpo_core.preferences import PairTable, PreferenceSplits
from dpo_core.preferences.messages import EMPTY_ANSWER
from dpo_core.preferences.parse_row import SAME_ANSWER
from sweeps.run_dir.paths import SPLITS

_SHOWN = 5
Said = Mapping[str, Any]
"""What reading the data said: `annotator_agreement` and `rows_skipped`."""


def audited(
    splits: PreferenceSplits,
    tokens: Mapping[str, TokenTable],
    findings: Sequence[Finding],
    said: Said,
    *,
    refuses_bad_rows: bool = False,
) -> dict[str, Any]:
    encoded = TokenTable.concatenate(tokens[split] for split in SPLITS)
    tables = {split: PairTable.of(getattr(splits, split)) for split in SPLITS}
    every = [*findings, *_bad_rows(said["rows_skipped"], refuses_bad_rows)]
    return {
        **said,
        "pairs": {split: len(table) for split, table in tables.items()},
        "prompts": sum(len(table.groups.names) for table in tables.values()),
        "lengths": length_percentiles(encoded),
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


def _bad_rows(reasons: Sequence[str], refused: bool) -> Iterator[Finding]:
    if not reasons:
        return
    kinds = {"the same answer twice": SAME_ANSWER, "an empty answer": EMPTY_ANSWER}
    counts = {kind: sum(words in reason for reason in reasons) for kind, words in kinds.items()}
    told = ", ".join(f"{count} with {kind}" for kind, count in counts.items() if count)
    yield Finding(
        "bad_rows",
        SEVERE if refused else WARNING,
        len(reasons),
        f"rows make no pair{f' ({told})' if told else ''}; "
        + ("a run stops at the first" if refused else "they are left out"),
        "correct them" + (", or leave them out with data.on_bad_row: skip" if refused else ""),
        tuple(reasons[:_SHOWN]),
    )


HISTOGRAM_BARS = "▁▂▃▄▅▆▇█"


def audit_lines(audit: dict[str, Any]) -> list[str]:
    """The same for a reader."""
    pairs = ", ".join(f"{count} {split}" for split, count in audit["pairs"].items())
    lines = [f"{pairs} pairs of {audit['prompts']} prompts"]
    for part, found in audit["lengths"].items():
        levels = ", ".join(f"{name} {value:.0f}" for name, value in found.items())
        lines.append(f"tokens of {part}: {levels}  {_bars(audit['histogram'][part]['counts'])}")
    for source, alpha in audit["annotator_agreement"].items():
        lines.append(f"annotators of {source} agree with Krippendorff's α = {alpha:.2f}")
    for finding in audit["findings"]:
        lines += finding_lines(finding)
    return lines


def finding_lines(finding: Mapping[str, Any]) -> list[str]:
    number = finding["number"]
    if finding["is_share"]:
        shown = f"{100 * number:.1f} %"
    else:
        shown = f"{number:.2f}" if number % 1 else f"{number:.0f}"
    lines = [f"{finding['severity']}: {shown} {finding['message']}"]
    if finding["places"]:
        lines.append(f"    such as {', '.join(finding['places'])}")
    if finding["remedy"]:
        lines.append(f"    {finding['remedy']}")
    return lines


def _bars(counts: list[int]) -> str:
    most = max(counts)
    steps = len(HISTOGRAM_BARS) - 1
    return "".join(HISTOGRAM_BARS[round(steps * count / most)] for count in counts)
