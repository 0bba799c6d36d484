"""The end of a sweep: choose the winner, open final once for it, export it, write selection.json.

The rules are pure and stand in `sweeps.selection`; what runs models and writes files is here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from sweeps.config.schema import SweepConfig
from sweeps.finalize.choose_winner import choose_winner
from sweeps.finalize.cleaned import refuse_if_cleaned
from sweeps.finalize.export import export_and_score, export_note, final_outcomes, is_exported
from sweeps.finalize.final_split import ONE_SWEEP, open_final, read_openings
from sweeps.finalize.incumbent import refuse_trained_on_final, score_incumbent
from sweeps.finalize.model_card import write_card
from sweeps.finalize.selection_json import SelectionInputs, selection_json, why_opened
from sweeps.ray_runtime.remote_call import RemoteCall
from sweeps.run_dir import json_files
from sweeps.run_dir.exported import ExportedJson
from sweeps.run_dir.final_register import AskedOpening, final_questions
from sweeps.run_dir.json_types import NightJson, SelectionJson
from sweeps.run_dir.ledger import TrialRecord
from sweeps.run_dir.lock import check_locks
from sweeps.run_dir.paths import SweepPaths
from sweeps.selection.rule import Candidate

log = logging.getLogger("dpo_sweeps")


def finalize_sweep(
    config: SweepConfig,
    paths: SweepPaths,
    records: Sequence[TrialRecord],
    call: RemoteCall,
    *,
    open_final_again: bool = False,
) -> SelectionJson:
    """Choose the winner, export it, score final with it, and write selection.json.

    A second call uses what a first one left.

    Args:
        config: Config of the sweep.
        paths: The run directory.
        records: Records of all trials.
        call: Runs models on a worker.
        open_final_again: Open final although it was opened for another choice.

    Returns:
        The content of selection.json.

    Raises:
        FinalSpent: Final was opened for another choice, and `open_final_again` is not given.
        Busy: Another process has taken over the sweep's lock.
    """
    inputs = choose_winner(config, paths, records, call)
    if inputs.choice.winner is not None:
        if inputs.incumbent:
            refuse_trained_on_final(paths, inputs.incumbent)
        check_locks()
        winner = inputs.choice.winner
        is_done = _is_exported_and_scored(config, paths, winner)
        if not is_done:
            refuse_if_cleaned(paths, winner.checkpoint)  # before final is opened for it
        _record_opening(config, paths, inputs, winner, force=open_final_again)
        if not is_done:
            _export_and_score(config, paths, winner, call)
        if inputs.incumbent:
            score_incumbent(paths, inputs.incumbent, "final", call)
    selection = selection_json(config, paths, inputs)
    _write_selection(paths, selection)
    return selection


def _record_opening(
    config: SweepConfig,
    paths: SweepPaths,
    inputs: SelectionInputs,
    winner: Candidate,
    *,
    force: bool,
) -> None:
    """Record that final is opened for the winner against its opponent, before anything is scored."""
    night: NightJson | None = json_files.NIGHT.optional(paths.store, paths.night)
    asked = AskedOpening(
        sweep=paths.sweep_id,
        night=night and night["night"],
        why=why_opened(winner, config.selection.objective),
        against=inputs.opponent,
        checkpoint=paths.store.sha256(paths.outcome(*winner.checkpoint)),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    declared = config.selection.final_openings or ONE_SWEEP
    before = read_openings(paths)
    opening = open_final(paths, asked, lambda: final_questions(paths), declared, force=force)
    if opening not in before:
        log.info(
            f"final is opened for {asked.why} against {asked.against}: opening {opening.number} of "
            f"{opening.declared} that its prompts are declared for"
        )


def _export_and_score(
    config: SweepConfig, paths: SweepPaths, winner: Candidate, call: RemoteCall
) -> None:
    """Export the winner and score final with it."""
    log.info(f"exporting {winner.name}, scoring the final split")
    dtype = config.export.dtype
    manifest = call(export_and_score, paths.ref, winner.trial, winner.step, dtype)
    _log_losses(manifest, paths)


def _is_exported_and_scored(config: SweepConfig, paths: SweepPaths, winner: Candidate) -> bool:
    is_scored = final_outcomes(paths, *winner.checkpoint) is not None
    return is_scored and is_exported(paths, winner.checkpoint, config.export.dtype)


def _log_losses(manifest: ExportedJson, paths: SweepPaths) -> None:
    note = export_note(manifest, paths.store.uri)
    if note is not None:
        sentence, is_warning = note
        log.log(logging.WARNING if is_warning else logging.INFO, sentence)


def _write_selection(paths: SweepPaths, selection: SelectionJson) -> None:
    """Write selection.json last, and the model card before it when there is a winner."""
    check_locks()
    if selection["winner"] is not None:
        write_card(paths, selection)
    json_files.SELECTION.write(paths.store, paths.selection, selection)
