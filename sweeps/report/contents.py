"""The sections of a report, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Callable

from sweeps.report import guarded, judged, nights, outcome, provenance, searched, told
from sweeps.report.blocks import Section
from sweeps.report.evidence import Evidence

SECTIONS: tuple[Callable[[Evidence], Section | None], ...] = (
    outcome.verdict_section,
    judged.compared_section,
    outcome.leaderboard_section,
    guarded.guardrails_section,
    guarded.confirmation_section,
    judged.slices_section,
    judged.drift_section,
    searched.axes_section,
    searched.parallel_section,
    searched.curves_section,
    searched.importance_section,
    nights.nights_section,
    told.answers_section,
    told.audit_section,
    provenance.provenance_section,
)


def sections_of(evidence: Evidence) -> list[Section]:
    """Those that have something to say."""
    built = (build(evidence) for build in SECTIONS)
    return [section for section in built if section is not None]
