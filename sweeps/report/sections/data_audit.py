"""The report's section on the data: split sizes, lengths, and the audit's findings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeps.report import formatting
from sweeps.report.blocks import Block, Column, Plot, Row, Section, Text, number, table
from sweeps.report.plots import bars_and_intervals, text_plots
from sweeps.report.report_data import Evidence


def audit_section(evidence: Evidence) -> Section:
    """The findings that `prepare` or `audit` left, and the size of each split."""
    prepared, audit = evidence.prepared, evidence.audit
    if not prepared and not audit:
        return Section("data", "Data", (Text("The data has not been prepared yet.", "note"),))
    blocks: list[Block] = []
    if prepared.get("reports"):
        columns = [Column("split"), *map(number, _REPORTED)]
        rows = [
            Row((split, *(_count(report.get(name)) for name in _REPORTED.values())))
            for split, report in prepared["reports"].items()
        ]
        blocks.append(table("Splits, and what was cut to data.max_tokens", columns, rows))
    if audit.get("histogram"):
        blocks.append(_lengths(audit))
    for source, alpha in (audit.get("annotator_agreement") or {}).items():
        blocks.append(Text(f"Annotators of {source} agree with Krippendorff's α = {alpha:.2f}."))
    findings = audit.get("findings") or prepared.get("findings") or []
    if findings:
        columns = [Column("severity"), number("number"), Column("finding", wide=True)]
        columns += [Column("such as", wide=True), Column("remedy", wide=True)]
        rows = [_finding(finding) for finding in findings]
        blocks.append(table("Findings of the audit", columns, rows))
    else:
        blocks.append(Text("The audit found nothing to say.", "note"))
    return Section("data", "Data", tuple(blocks))


def _lengths(audit: Mapping[str, Any]) -> Plot:
    """How long prompts and answers are, of all splits."""
    parts = audit["histogram"]
    figure = bars_and_intervals.profiles(
        {part: (h["edges"], h["counts"]) for part, h in parts.items()}, "tokens"
    )
    lines = tuple(
        f"{part:<9} {text_plots.sparkline(h['counts'], 0, max(h['counts']))}  "
        f"{h['edges'][0]:.0f} to {h['edges'][-1]:.0f} tokens"
        for part, h in parts.items()
    )
    return Plot("lengths", "Tokens of prompts and answers, all splits", figure, lines)


_REPORTED = {
    "pairs": "pairs",
    "prompt tokens": "prompt_tokens",
    "chosen tokens": "chosen_tokens",
    "rejected tokens": "rejected_tokens",
    "prompts cut": "prompts_cut",
    "answers cut": "answers_cut",
    "indistinct": "indistinct",
}


def _finding(finding: Mapping[str, Any]) -> Row:
    number_ = finding.get("number")
    told = formatting.share(number_) if finding.get("is_share") else formatting.value(number_)
    places = ", ".join(map(str, finding.get("places") or ())) or formatting.MISSING
    cells = (str(finding.get("severity")), told, str(finding.get("message")), places)
    return Row((*cells, str(finding.get("remedy") or formatting.MISSING)))


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else formatting.value(value)
