"""The audit of a sweep's data as JSON, and its lines for a reader.

The command `audit` prints it; `prepare` stores it as audit.json, which the report shows.

audit.json: {"pairs": {split: n}, "prompts": n, "annotator_agreement": {source: α}, "lengths": {part:
{"p5": tokens}}, "histogram": {part: {"counts", "edges"}}, "rows_skipped": [why], "rows_left_out":
[location], "no_pair": {source: {"rows", "counts", "places"}}, "row_scores": {source: {columns:
{"rows", "equal", "against", …}}}, "columns": {source: {"layout", "sentence", "used", "ignored"}},
"findings": [{"code", "severity", "number", "is_share", "message", "remedy", "places"}]}, findings by
severity.

Tested in tests/unit/sweeps/preflight/test_audit.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from dpo_core.audit.findings import Finding, by_severity
from dpo_core.audit.pair_checks import length_percentiles
from dpo_core.encoding.token_table import TokenTable
from dpo_core.preferences import PairTable, PreferenceSplits
from dpo_core.wording import counted
from sweeps.prepare.column_use import column_lines
from sweeps.prepare.reading_findings import bad_row_findings, reading_findings
from sweeps.run_dir.json_types import AuditJson, FindingJson, HistogramJson, ReadingReport
from sweeps.run_dir.paths import SPLITS

HISTOGRAM_BARS = "▁▂▃▄▅▆▇█"


def build_audit(
    splits: PreferenceSplits,
    tokens: Mapping[str, TokenTable],
    findings: Sequence[Finding],
    reading: ReadingReport,
    *,
    refuses_bad_rows: bool = False,
) -> AuditJson:
    """Put together what was found in the data.

    Args:
        splits: the pairs of each split.
        tokens: their tokens, by split.
        findings: of the pairs and of the reference pass.
        reading: what reading the data found.
        refuses_bad_rows: whether a run would stop at a row that makes no pair.

    Returns:
        audit.json, its findings by severity.
    """
    encoded = TokenTable.concatenate(tokens[split] for split in SPLITS)
    tables = {split: PairTable.of(getattr(splits, split)) for split in SPLITS}
    every = [
        *findings,
        *bad_row_findings(reading["rows_skipped"], refuses_bad_rows),
        *reading_findings(reading),
    ]
    return {
        **reading,
        "pairs": {split: len(table) for split, table in tables.items()},
        "prompts": sum(len(table.groups.names) for table in tables.values()),
        "lengths": length_percentiles(encoded),
        "histogram": {part: histogram(column) for part, column in encoded.lengths.items()},
        "findings": [finding_json(finding) for finding in by_severity(every)],
    }


def finding_json(finding: Finding) -> FindingJson:
    """Return a finding as audit.json and prepared.json have it."""
    return cast("FindingJson", finding.as_dict())


def histogram(values: npt.NDArray[np.int64], bars: int = 16) -> HistogramJson:
    """Count values between evenly spaced edges."""
    counts, edges = np.histogram(values, bins=bars)
    return {"counts": counts.tolist(), "edges": edges.tolist()}


def skipped_rows(reasons: Sequence[str], shown: int = 3) -> str:
    """Return one line about rows that made no pair, with the first `shown` reasons."""
    rest = f"; and {len(reasons) - shown} more" if len(reasons) > shown else ""
    return f"{counted(len(reasons), 'row')} skipped: {'; '.join(reasons[:shown])}{rest}"


def audit_lines(audit: AuditJson) -> list[str]:
    """Return an audit as lines for a reader."""
    pairs = ", ".join(f"{count} {split}" for split, count in audit["pairs"].items())
    lines = [f"{pairs} pairs of {counted(audit['prompts'], 'prompt')}"]
    for part, percentiles in audit["lengths"].items():
        levels = ", ".join(f"{name} {value:.0f}" for name, value in percentiles.items())
        lines.append(f"tokens of {part}: {levels}  {_bars(audit['histogram'][part]['counts'])}")
    lines += column_lines(audit.get("columns", {}))
    for source, alpha in audit["annotator_agreement"].items():
        lines.append(f"annotators of {source} agree with Krippendorff's α = {alpha:.2f}")
    for finding in audit["findings"]:
        lines += finding_lines(finding)
    return lines


def finding_lines(finding: FindingJson) -> list[str]:
    """Return a finding as lines: its number and message, examples, and what to do."""
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


def _bars(counts: Sequence[int]) -> str:
    most = max(counts)
    steps = len(HISTOGRAM_BARS) - 1
    return "".join(HISTOGRAM_BARS[round(steps * count / most)] for count in counts)
