"""Writes `report/index.html` and `report/report.md` into a sweep's folder, at any time."""

from __future__ import annotations

import logging

from sweeps.report.markdown import render_markdown
from sweeps.report.page import render_page
from sweeps.report.report_data import read_evidence
from sweeps.report.sections.all_sections import sections_of
from sweeps.report.sections.verdict import tone, verdict_sentence
from sweeps.run_dir.paths import SweepPaths

log = logging.getLogger("dpo_sweeps")


def write_report(paths: SweepPaths) -> str:
    """Returns where the page is. Raises UserError when there is no sweep or its ledger is damaged."""
    evidence = read_evidence(paths)
    sections, verdict = sections_of(evidence), verdict_sentence(evidence)
    page = render_page(evidence.sweep_id, verdict, sections, tone(evidence), evidence.running)
    paths.store.write(paths.report_page, page.encode())
    markdown = render_markdown(evidence.sweep_id, verdict, sections)
    paths.store.write(paths.report_markdown, markdown.encode())
    return f"{paths.store.uri}/{paths.report_page}"


def try_write_report(paths: SweepPaths) -> None:
    """At the end of a sweep, which a report that cannot be written must not fail."""
    try:
        log.info(f"report {write_report(paths)}")
    except Exception as error:
        log.warning(
            f"the report could not be written ({type(error).__name__}: {error}); "
            f"`dpo-sweeps report {paths.store.uri}` tries again"
        )
