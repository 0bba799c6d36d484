"""The sections of a report, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from sweeps.config.secrets import redact
from sweeps.report.blocks import Block, Facts, Row, Section, Source, Table, Text
from sweeps.report.report_data import ReportData
from sweeps.report.sections import (
    answers,
    comparison,
    confirmation,
    data_audit,
    drift,
    guardrails,
    importance,
    leaderboard,
    nights,
    provenance,
    search,
    slices,
    verdict,
)

SECTIONS: tuple[Callable[[ReportData], Section | None], ...] = (
    verdict.verdict_section,
    comparison.comparison_section,
    leaderboard.leaderboard_section,
    guardrails.guardrails_section,
    confirmation.confirmation_section,
    slices.slices_section,
    drift.drift_section,
    search.axes_section,
    search.parallel_section,
    search.curves_section,
    importance.importance_section,
    nights.nights_section,
    answers.answers_section,
    data_audit.audit_section,
    provenance.provenance_section,
)


def build_sections(data: ReportData) -> list[Section]:
    """Build every section that applies to the sweep, without secrets: reports are sent around."""
    sections = (build(data) for build in SECTIONS)
    return [_redacted(section) for section in sections if section is not None]


def _redacted(section: Section) -> Section:
    return replace(section, blocks=tuple(map(_redacted_block, section.blocks)))


def _redacted_block(block: Block) -> Block:
    """Redact texts that may hold a URI or an exception's message; leave the pairs as they are."""
    match block:
        case Text() | Source():
            return replace(block, text=redact(block.text))
        case Facts():
            return replace(block, items=tuple((name, redact(text)) for name, text in block.items))
        case Table():
            wide = [column.wide for column in block.columns]
            return replace(block, rows=tuple(_redacted_row(row, wide) for row in block.rows))
    return block


def _redacted_row(row: Row, wide: Sequence[bool]) -> Row:
    cells = zip(row.cells, wide, strict=True)
    return replace(row, cells=tuple(redact(c) if c and prose else c for c, prose in cells))
