"""A whole sweep: prepare, run the trials, choose and export the winner."""

from __future__ import annotations

import logging
from typing import Any

from dpo_core.audit.pair_checks import INFO
from dpo_core.errors import UserError
from dpo_core.preferences import PreferenceSplits
from sweeps.config.schema import SweepConfig
from sweeps.config.study import check_study_driver
from sweeps.config.trackers import check_trackers
from sweeps.finalize.finalize import finalize_sweep
from sweeps.finalize.incumbent import find_incumbent
from sweeps.prepare.audit_report import finding_lines, skipped_rows
from sweeps.prepare.data import read_data, reading_report, split_data
from sweeps.prepare.pipeline import prepare
from sweeps.prepare.reuse import reusable_pairs, reusable_preparation
from sweeps.ray_runtime.auth import how_to_enter
from sweeps.ray_runtime.connect import connected, dashboard_url
from sweeps.ray_runtime.remote_call import call_of
from sweeps.report.write import try_write_report
from sweeps.run_dir import json_files
from sweeps.run_dir.config_file import write_config
from sweeps.run_dir.json_types import ReadingReport
from sweeps.run_dir.lock import held
from sweeps.run_dir.paths import SweepPaths
from sweeps.run_dir.prepared import Prepared
from sweeps.selection.candidates import CandidateReader

log = logging.getLogger("dpo_sweeps")


class NoWinner(UserError):
    """No trial was ever evaluated; the ledger says why."""

    exit_code = 3


def run_sweep(config: SweepConfig, paths: SweepPaths, tell: Any) -> dict[str, Any]:
    """Returns what selection.json holds. Goes on where an earlier call stopped.

    Raises UserError for the user's mistakes before anything is written, Busy when another process
    runs the sweep, and NoWinner at the end when every trial failed.
    """
    if config.model.trust_remote_code:
        log.warning(
            f"model.trust_remote_code: code that ships with {config.model.path} runs on "
            "every worker, with all that this job may do and read"
        )
    check_study_driver(config.search.study)
    check_trackers(config.trackers)
    made = reusable_preparation(paths) or reusable_pairs(paths) or _read(config)
    find_incumbent(config)  # a wrong path is told before anything runs
    with held(paths.leases, paths.sweep_id), connected():
        import ray

        from sweeps.ray_runtime.resources import check_resources
        from sweeps.trials.runner import confirm_trials, open_lanes, run_trials

        check_resources(config.resources, config.search.concurrent, ray.cluster_resources())
        log.info(f"sweep {paths.sweep_id} in {paths.store.uri}")
        if dashboard_url():
            log.info(f"dashboard {dashboard_url()}{how_to_enter()}")
        # Only a sweep that ends closes its lanes: an interrupted one must not wait for them.
        lanes = open_lanes(config, paths)
        call = call_of(config, lanes)
        if not paths.store.exists(paths.config):
            write_config(config, paths)
        prepared = made if isinstance(made, Prepared) else prepare(config, paths, *made, call)
        _log_prepared(prepared)
        records = run_trials(config, paths, prepared, tell, lanes)
        finalists = CandidateReader(paths, config.selection).finalists(records)
        if finalists:
            named = ", ".join(f"{each.trial} at step {each.step}" for each in finalists)
            log.info(
                f"training again with {config.selection.confirm.seeds} new seeds each: {named}"
            )
            records = confirm_trials(config, paths, prepared, tell, finalists, lanes)
        evaluated = any(record.evaluations for record in records)
        if lanes is not None and (not evaluated or config.resources.workers > 1):
            lanes.close()  # those of several workers run no calls, but hold the export's CPUs
        selection = finalize_sweep(config, paths, records, call)
        if lanes is not None:
            lanes.close()
    try_write_report(paths)
    if not evaluated:
        raise NoWinner(
            f"{paths.store.uri}: none of {len(records)} trials was ever evaluated "
            f"({records[0].reason}: {records[0].detail}); see {paths.ledger}"
        )
    return selection


def _read(config: SweepConfig) -> tuple[PreferenceSplits, ReadingReport]:
    data = read_data(config)
    splits = split_data(config, data)
    if data.skipped:
        log.info(skipped_rows(data.skipped))
    log.info(
        f"{len(splits.train)} train, {len(splits.select)} select, {len(splits.final)} final pairs "
        f"from {', '.join(source.path for source in config.data.all_sources)}"
    )
    return splits, reading_report(data)


def read_selection(paths: SweepPaths) -> dict[str, Any]:
    """Raises UserError when the sweep has not ended, or the file is damaged."""
    selection: dict[str, Any] | None
    selection = json_files.SELECTION.optional(paths.store, paths.selection)
    if selection is None:
        raise UserError(
            f"{paths.store.uri}: has no {paths.selection} yet; `dpo-sweeps resume` finishes the sweep"
        )
    return selection


def _log_prepared(prepared: Prepared) -> None:
    if prepared.not_shared:
        log.info(f"prompts are not shared, which costs time: {prepared.not_shared}")
    for finding in prepared.findings:
        if finding["severity"] != INFO and finding["code"] != "bad_rows":  # already said
            log.info("\n".join(finding_lines(finding)))
    if prepared.golden_dropped:
        log.info(skipped_rows(prepared.golden_dropped))
    for split, report in prepared.reports.items():
        done = "computed" if prepared.reference_computed[split] else "found"
        cut = f", {report['prompts_cut']} prompts and {report['answers_cut']} pairs' answers cut"
        log.info(
            f"{split}: {report['pairs']} pairs, reference {done}"
            + (cut if report["prompts_cut"] or report["answers_cut"] else "")
        )
