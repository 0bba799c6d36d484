"""A whole sweep: prepare, search, confirm, finalize, report.

Tested in tests/integration/test_sweep.py.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from dpo_core.audit.findings import INFO
from dpo_core.errors import SettingsError, UserError
from dpo_core.models.load import check_local_model
from dpo_core.preferences import PreferenceSplits
from dpo_core.preferences.pairs import normalized_question, question_id
from dpo_core.storage.partial import remove_partial
from dpo_core.storage.probe import check_storage, check_temporary_folder
from dpo_core.training.trl_fields import check_trl_fields
from dpo_core.wording import counted
from sweeps.config.changes import config_changes
from sweeps.config.schema import SweepConfig
from sweeps.config.study import check_study_driver
from sweeps.config.trackers import check_trackers
from sweeps.finalize.final_split import ONE_SWEEP, describe_next_opening
from sweeps.finalize.finalize import finalize_sweep
from sweeps.finalize.incumbent import check_incumbent, find_incumbent, refuse_trained_on_final
from sweeps.prepare.audit_report import finding_lines, skipped_rows
from sweeps.prepare.data import full_splits, kept_prompts, read_data, reading_report, split_data
from sweeps.prepare.model_check import check_longest_pairs, model_check_lines
from sweeps.prepare.pipeline import prepare
from sweeps.prepare.reuse import reusable_pairs, reusable_preparation
from sweeps.ray_runtime.auth import token_hint
from sweeps.ray_runtime.connect import connected, dashboard_url
from sweeps.ray_runtime.lane_client import LaneClient
from sweeps.ray_runtime.remote_call import RemoteCall, remote_call_for, warn_of_model_code
from sweeps.report.write import try_write_report
from sweeps.run_dir import json_files, ledger
from sweeps.run_dir.config_file import (
    check_is_sweep,
    may_have_trials,
    read_config,
    take_over_changes,
    write_config,
)
from sweeps.run_dir.final_register import FinalRegister
from sweeps.run_dir.json_types import ReadingReport, SelectionJson
from sweeps.run_dir.ledger import TrialRecord
from sweeps.run_dir.lock import lock
from sweeps.run_dir.paths import SweepPaths
from sweeps.run_dir.prepared import Prepared, precision_in_words
from sweeps.selection.candidates import CandidateReader
from sweeps.selection.trial_counts import new_seeds_in_words
from sweeps.trials.events import OnTrialEvent

log = logging.getLogger("dpo_sweeps")

_LEAST_ROOM_BYTES = 32 * 2**20
"""What the tables and points of the smallest sweep need, beside checkpoints."""


class NoWinner(UserError):
    """No trial was ever evaluated; the ledger says why."""

    exit_code = 3


def run_sweep(config: SweepConfig, paths: SweepPaths, on_event: OnTrialEvent) -> SelectionJson:
    """Run a sweep, or go on where an earlier call stopped.

    Args:
        config: The sweep's configuration.
        paths: The sweep's folder.
        on_event: Called with each event of a trial.

    Returns:
        What selection.json holds.

    Raises:
        UserError: The user made a mistake; nothing was written.
        Busy: Another process runs the sweep.
        NoWinner: Every trial failed.
    """
    warn_of_model_code(config)
    paths.store.refuse_links()  # also where Ray writes, which no reader of ours comes by
    _check_settings(config)
    check_incumbent(config)  # a wrong path ends the sweep before anything runs
    for left in (*paths.partial_files(), *paths.shared_partial_files()):
        remove_partial(left)  # what a process still writes stays
    kept = reusable_preparation(paths) or _reusable_pairs(config, paths)
    kept = kept or _read_splits(config, paths)
    if not isinstance(kept, Prepared):
        check_longest_pairs(config, kept[0])
    _check_disks(config, paths)
    with lock(paths.leases, paths.sweep_id), connected():
        _take_over_changes(config, paths)
        _check_cluster(config, paths)
        lanes = _open_lanes(config, paths)
        call = remote_call_for(config, lanes)
        prepared = _prepare(config, paths, kept, call)
        _refuse_incumbent_trained_on_final(config, paths)
        records = _search(config, paths, prepared, on_event, lanes)
        selection = _finalize(config, paths, records, call, lanes)
    try_write_report(paths)
    if not _has_evaluations(records):
        raise NoWinner(
            f"{paths.store.uri}: none of {len(records)} trials was ever evaluated "
            f"({records[0].reason}: {records[0].detail}); see {paths.ledger}"
        )
    return selection


def read_selection(paths: SweepPaths) -> SelectionJson:
    """Read what a sweep chose. Raises UserError when it has not ended, or the file is damaged."""
    if not paths.store.exists(paths.selection):
        check_is_sweep(paths)
    selection: SelectionJson | None
    selection = json_files.SELECTION.optional(paths.store, paths.selection)
    if selection is None:
        raise UserError(
            f"{paths.store.uri}: has no {paths.selection} yet; `dpo-sweeps resume` finishes the sweep"
        )
    return selection


def _check_settings(config: SweepConfig) -> None:
    """Check what needs neither the data nor Ray."""
    check_local_model(config.model)
    check_trl_fields(config.training.trl)
    check_study_driver(config.search.study)
    check_trackers(config.trackers)


def _check_disks(config: SweepConfig, paths: SweepPaths) -> None:
    """Check that what the sweep writes to can be reached and written, and has room for the export."""
    model = Path(config.model.path).expanduser()
    weights = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    export = 0 if paths.store.exists(paths.best) else weights
    check_temporary_folder(_LEAST_ROOM_BYTES)
    check_storage(paths.storage, _LEAST_ROOM_BYTES + export)


def _reusable_pairs(
    config: SweepConfig, paths: SweepPaths
) -> tuple[PreferenceSplits, ReadingReport] | None:
    """Return the pairs as an earlier start read them; None where it read them by other settings."""
    if paths.store.exists(paths.config) and not may_have_trials(paths):
        try:
            changes = config_changes(read_config(paths), config)
        except SettingsError:  # it was cut off
            return None
        if any(change.key.startswith(("data.", "seed")) for change in changes):
            return None
    return reusable_pairs(paths)


def _read_splits(config: SweepConfig, paths: SweepPaths) -> tuple[PreferenceSplits, ReadingReport]:
    data = read_data(config)
    is_night = paths.store.exists(paths.night)
    incumbent = find_incumbent(config) if is_night else None
    kept = kept_prompts(paths.storage, incumbent.path if incumbent else None)
    splits = split_data(config, data, kept)
    if data.skipped:
        log.info(skipped_rows(data.skipped))
    log.info(
        f"{len(splits.train)} train, {len(splits.select)} select, {len(splits.final)} final pairs "
        f"from {', '.join(source.path for source in config.data.all_sources)}"
    )
    full = full_splits(splits.over_limit)
    if full is not None:
        log.info(f"pairs: {full}")
    _say_what_final_is_worth(config, paths, splits)
    return splits, reading_report(data, splits)


def _say_what_final_is_worth(
    config: SweepConfig, paths: SweepPaths, splits: PreferenceSplits
) -> None:
    """Log which opening of final the sweep's own will be, before it costs anything."""
    questions = {question_id(normalized_question(pair.prompt)) for pair in splits.final}
    declared = config.selection.final_openings or ONE_SWEEP
    number, declared = FinalRegister.of(paths.storage).next_opening(questions, declared)
    sentence = describe_next_opening(number, declared)
    if sentence is not None:
        log.log(logging.WARNING if number > declared else logging.INFO, sentence)


def _refuse_incumbent_trained_on_final(config: SweepConfig, paths: SweepPaths) -> None:
    incumbent = find_incumbent(config)
    if incumbent is not None:
        refuse_trained_on_final(paths, incumbent)


def _check_cluster(config: SweepConfig, paths: SweepPaths) -> None:
    """Check that the trials fit the cluster, then say where the sweep can be watched."""
    import ray

    from sweeps.ray_runtime.resources import check_resources

    check_resources(config.resources, config.search.concurrent, ray.cluster_resources())
    log.info(f"sweep {paths.sweep_id} in {paths.store.uri}")
    if dashboard_url():
        log.info(f"dashboard {dashboard_url()}{token_hint()}")


def _take_over_changes(config: SweepConfig, paths: SweepPaths) -> None:
    """Write down what differs from the sweep's config so far, before a worker reads it.

    A sweep without trials begins with the config as it is now.
    """
    if not (paths.store.exists(paths.config) and may_have_trials(paths)):
        return
    changes = take_over_changes(config, paths)
    for change in changes:
        log.info(f"goes on with {change}")
    if changes and paths.store.exists(paths.final_opened):
        log.warning(
            "the final split was opened already: if the choice becomes another one, it needs "
            "`dpo-sweeps select FOLDER --write --open-final-again`"
        )


def _open_lanes(config: SweepConfig, paths: SweepPaths) -> LaneClient | None:
    from sweeps.trials.runner import open_lanes

    return open_lanes(config, paths)


def _prepare(
    config: SweepConfig,
    paths: SweepPaths,
    kept: Prepared | tuple[PreferenceSplits, ReadingReport],
    call: RemoteCall,
) -> Prepared:
    """Prepare the sweep, unless an earlier call did, and log what was found in the data."""
    if not paths.store.exists(paths.config):
        write_config(config, paths)
    prepared = kept if isinstance(kept, Prepared) else prepare(config, paths, *kept, call)
    _log_prepared(config, prepared)
    return prepared


def _search(
    config: SweepConfig,
    paths: SweepPaths,
    prepared: Prepared,
    on_event: OnTrialEvent,
    lanes: LaneClient | None,
) -> list[TrialRecord]:
    """Run the trials of the search, then train its best points again with new seeds."""
    from sweeps.search.pending_trials import without_record
    from sweeps.trials.runner import confirm_trials, confirmation_points, run_trials

    if config.shortage:
        log.info(config.shortage)
    before = len(ledger.read(paths.store, paths.ledger))
    records = run_trials(config, paths, prepared, on_event, lanes)
    finalists = CandidateReader(paths, config.selection).finalists(records)
    if without_record(confirmation_points(config, finalists), records):
        named = ", ".join(f"{each.trial} at step {each.step}" for each in finalists)
        seeds = new_seeds_in_words(config.selection.confirm.seeds)
        log.info(f"training again with {seeds} each: {named}")
        records = confirm_trials(config, paths, prepared, on_event, finalists, lanes)
    if len(records) == before:
        log.info("all trials have ended; nothing is left to train")
    return records


def _finalize(
    config: SweepConfig,
    paths: SweepPaths,
    records: Sequence[TrialRecord],
    call: RemoteCall,
    lanes: LaneClient | None,
) -> SelectionJson:
    """Choose and export the winner, and close the lanes.

    Only a sweep that ends closes its lanes: an interrupted one must not wait for them.
    """
    if lanes is not None and (not _has_evaluations(records) or config.resources.workers > 1):
        lanes.close()  # those of several workers run no calls, but keep the CPUs that export needs
    selection = finalize_sweep(config, paths, records, call)
    if lanes is not None:
        lanes.close()
    return selection


def _has_evaluations(records: Sequence[TrialRecord]) -> bool:
    return any(record.evaluations for record in records)


def _log_prepared(config: SweepConfig, prepared: Prepared) -> None:
    for line in model_check_lines(prepared.model_check):
        log.info(line)
    if prepared.not_shared:
        log.info(f"prompts are not shared, which costs time: {prepared.not_shared}")
    precision = precision_in_words(prepared.score_dtype, prepared.model_noise)
    if precision:
        log.info(f"held-out pairs are scored in {precision}")
    for finding in prepared.findings:
        quiet = ("bad_rows", *config.data.quiet_findings)  # bad rows are said while reading
        if finding["severity"] != INFO and finding["code"] not in quiet:
            log.info("\n".join(finding_lines(finding)))
    for left_out in (prepared.golden_dropped, prepared.rows_refused):
        if left_out:
            log.info(skipped_rows(left_out))
    for split, report in prepared.reports.items():
        done = "computed" if prepared.reference_computed[split] else "found"
        prompts = counted(report["prompts_cut"], "prompt")
        cut = f", {prompts} and {report['answers_cut']} pairs' answers cut"
        log.info(
            f"{split}: {counted(report['pairs'], 'pair')}, reference {done}"
            + (cut if report["prompts_cut"] or report["answers_cut"] else "")
        )
