"""The end of a sweep: choose the winner, open final once for it, export it, write selection.json.

The rules are pure and stand in `sweeps.selection`; what runs models and writes files is here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from sweeps.config.schema import SweepConfig
from sweeps.finalize.choose_winner import choose_winner
from sweeps.finalize.export import export_and_score, export_note, final_outcomes, is_exported
from sweeps.finalize.final_split import open_final
from sweeps.finalize.incumbent import score_incumbent
from sweeps.finalize.model_card import write_card
from sweeps.finalize.selection_json import selection_json, why_opened
from sweeps.ray_runtime.remote_call import RemoteCall
from sweeps.run_dir import json_files
from sweeps.run_dir.exported import ExportedJson
from sweeps.run_dir.json_types import SelectionJson
from sweeps.run_dir.ledger import TrialRecord
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
    """
    inputs = choose_winner(config, paths, records, call)
    if inputs.choice.winner is not None:
        _open_final(config, paths, inputs.choice.winner, call, force=open_final_again)
        if inputs.incumbent:
            score_incumbent(paths, inputs.incumbent, "final", call)
    selection = selection_json(config, paths, inputs)
    _write_selection(paths, selection)
    return selection


def _open_final(
    config: SweepConfig, paths: SweepPaths, winner: Candidate, call: RemoteCall, *, force: bool
) -> None:
    """Record that final is opened, then export the winner and score final, unless that is done."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    why = why_opened(winner, config.selection.objective)
    open_final(paths.store, paths.final_opened, why, when, force=force)
    dtype = config.export.dtype
    is_done = final_outcomes(paths, *winner.checkpoint) is not None
    if not (is_done and is_exported(paths, winner.checkpoint, dtype)):
        log.info(f"exporting {winner.name}, scoring the final split")
        manifest = call(export_and_score, paths.ref, winner.trial, winner.step, dtype)
        _log_losses(manifest, paths)


def _log_losses(manifest: ExportedJson, paths: SweepPaths) -> None:
    note = export_note(manifest, paths.store.uri)
    if note is not None:
        sentence, is_warning = note
        log.log(logging.WARNING if is_warning else logging.INFO, sentence)


def _write_selection(paths: SweepPaths, selection: SelectionJson) -> None:
    """Write selection.json last, and the model card before it when there is a winner."""
    if selection["winner"] is not None:
        write_card(paths, selection)
    json_files.SELECTION.write(paths.store, paths.selection, selection)
