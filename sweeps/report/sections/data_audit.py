"""The section on the data: sizes of the splits, lengths of the texts, findings of the audit."""

from __future__ import annotations

from collections.abc import Mapping

from sweeps.report import formatting
from sweeps.report.blocks import Block, Column, Plot, Row, Section, Text, number, table
from sweeps.report.plots import bars_and_intervals, text_plots
from sweeps.report.report_data import ReportData
from sweeps.run_dir.json_types import ColumnUseJson, FindingJson, HistogramJson

_COUNTS = {
    "pairs": "pairs",
    "prompt tokens": "prompt_tokens",
    "chosen tokens": "chosen_tokens",
    "rejected tokens": "rejected_tokens",
    "prompts cut off": "prompts_cut",
    "without oldest turns": "turns_dropped",
    "last turns cut off": "questions_cut",
    "answers cut off": "answers_cut",
    "pairs cut to equal answers": "indistinct",
    "prompts that end otherwise before answers": "merged",
}
"""Columns of the table of splits, with the keys of prepared.json that fill them."""


def audit_section(data: ReportData) -> Section:
    """Show the size of each split, and the findings of `dpo-sweeps audit` or of preparing the data."""
    prepared, audit = data.prepared, data.audit
    if not prepared and not audit:
        return Section("data", "Data", (Text("The data has not been prepared yet.", "note"),))
    blocks: list[Block] = []
    if prepared.get("reports"):
        columns = [Column("split"), *map(number, _COUNTS)]
        rows = [
            Row((split, *(_count(counts.get(key)) for key in _COUNTS.values())))
            for split, counts in prepared["reports"].items()
        ]
        blocks.append(table("Splits, and what was cut off to fit data.max_tokens", columns, rows))
    if audit.get("columns"):
        columns = [Column("source", wide=True), Column("layout", wide=True)]
        columns += [Column("column"), Column("used as")]
        rows = [row for source, use in audit["columns"].items() for row in _columns(source, use)]
        blocks.append(table("Columns of each source", columns, rows))
    if audit.get("histogram"):
        blocks.append(_lengths(audit["histogram"]))
    for source, alpha in (audit.get("annotator_agreement") or {}).items():
        blocks.append(Text(f"Annotators of {source} agree with Krippendorff's α = {alpha:.2f}."))
    findings = audit.get("findings") or prepared.get("findings") or []
    if findings:
        columns = [Column("severity"), number("value"), Column("finding", wide=True)]
        columns += [Column("examples", wide=True), Column("remedy", wide=True)]
        rows = [_finding(finding) for finding in findings]
        blocks.append(table("Findings of the audit", columns, rows))
    else:
        blocks.append(Text("The audit found no problem.", "note"))
    return Section("data", "Data", tuple(blocks))


def _lengths(histograms: Mapping[str, HistogramJson]) -> Plot:
    """Return the plot of the lengths of prompts and answers in tokens, over all splits."""
    figure = bars_and_intervals.draw_histogram_outlines(
        {part: (h["edges"], h["counts"]) for part, h in histograms.items()}, "tokens"
    )
    lines = tuple(
        f"{part:<9} {text_plots.draw_sparkline(h['counts'], 0, max(h['counts']))}  "
        f"{h['edges'][0]:.0f} to {h['edges'][-1]:.0f} tokens"
        for part, h in histograms.items()
    )
    return Plot("lengths", "Tokens of prompts and answers, all splits", figure, lines)


def _columns(source: str, use: ColumnUseJson) -> list[Row]:
    uses = [*use["used"].items(), *((column, formatting.MISSING) for column in use["ignored"])]
    return [Row((source, use["sentence"], column, name)) for column, name in uses]


def _finding(finding: FindingJson) -> Row:
    amount = finding.get("number")
    examples = ", ".join(map(str, finding.get("places") or ()))
    cells = (
        str(finding.get("severity")),
        formatting.percent(amount) if finding.get("is_share") else formatting.value(amount),
        str(finding.get("message")),
        examples or formatting.MISSING,
        str(finding.get("remedy") or formatting.MISSING),
    )
    return Row(cells)


def _count(count: object) -> str:
    return f"{count:,}" if isinstance(count, int) else formatting.value(count)
