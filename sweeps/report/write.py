"""Writes `report/index.html` and `report/report.md` into a run directory, at any time."""

from __future__ import annotations

import logging

from sweeps.report.markdown import render_markdown
from sweeps.report.page import render_page
from sweeps.report.report_data import read_report_data
from sweeps.report.sections.all_sections import build_sections
from sweeps.report.sections.verdict import verdict_sentence, verdict_tone
from sweeps.run_dir.paths import SweepPaths

log = logging.getLogger("dpo_sweeps")


def write_report(paths: SweepPaths) -> str:
    """Write the report and return the URI of its page.

    Raises UserError when there is no sweep, or its ledger is damaged.
    """
    data = read_report_data(paths)
    sections, verdict = build_sections(data), verdict_sentence(data)
    page = render_page(data.sweep_id, verdict, sections, verdict_tone(data), data.running)
    paths.store.write(paths.report_page, page.encode())
    markdown = render_markdown(data.sweep_id, verdict, sections)
    paths.store.write(paths.report_markdown, markdown.encode())
    return f"{paths.store.uri}/{paths.report_page}"


def try_write_report(paths: SweepPaths) -> None:
    """Write the report, or log why it could not be written: that must not make a sweep fail."""
    try:
        log.info(f"report {write_report(paths)}")
    except Exception as error:
        log.warning(
            f"the report could not be written ({type(error).__name__}: {error}); "
            f"`dpo-sweeps report {paths.store.uri}` tries again"
        )
