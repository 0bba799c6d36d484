"""The choice made again on a sweep that ended: other limits, objective or incumbent; no training."""

from __future__ import annotations

from collections.abc import Sequence

from dpo_core.errors import UserError
from sweeps.config.changes import changed_by_overrides
from sweeps.config.schema import SweepConfig
from sweeps.finalize.choose_winner import choose_winner
from sweeps.finalize.finalize import finalize_sweep
from sweeps.finalize.selection_json import selection_json
from sweeps.ray_runtime.connect import connected
from sweeps.ray_runtime.remote_call import remote_call_for
from sweeps.report.write import try_write_report
from sweeps.run_dir import ledger
from sweeps.run_dir.config_file import read_config, take_over_changes
from sweeps.run_dir.json_types import SelectionJson
from sweeps.run_dir.ledger import TrialRecord
from sweeps.run_dir.lock import check_locks, lock
from sweeps.run_dir.paths import SweepPaths


def replayed_config(paths: SweepPaths, overrides: Sequence[str]) -> SweepConfig:
    """Read the sweep's config and override keys of the choice and the export.

    Raises SettingsError for any other key, and for the precision of scores that are there already.
    """
    source = f"{paths.store.uri}/{paths.config}"
    return changed_by_overrides(read_config(paths), overrides, source=source, stage="select")


def replay(config: SweepConfig, paths: SweepPaths) -> SelectionJson:
    """Return what selection.json would hold, from stored outcomes and answers alone.

    Nothing is written. Raises UserError when trials have not ended.
    """
    inputs = choose_winner(config, paths, _ended_trials(config, paths), call=None)
    return selection_json(config, paths, inputs)


def rewrite(config: SweepConfig, paths: SweepPaths, *, open_final_again: bool) -> SelectionJson:
    """Make the new choice that of the sweep, with its export, final scores and config.

    Args:
        config: Config of the new choice; it replaces the sweep's.
        paths: The run directory.
        open_final_again: Open final although it was opened for another choice.

    Returns:
        The content of selection.json.

    Raises:
        FinalSpent: Final was opened for another choice, and `open_final_again` is not given.
        Busy: Another process works on the sweep.
        UserError: Trials have not ended.
    """
    with lock(paths.leases, paths.sweep_id), connected():
        records, call = _ended_trials(config, paths), remote_call_for(config)
        selection = finalize_sweep(config, paths, records, call, open_final_again=open_final_again)
        check_locks()
        take_over_changes(config, paths)
    try_write_report(paths)
    return selection


def _ended_trials(config: SweepConfig, paths: SweepPaths) -> list[TrialRecord]:
    records = ledger.read(paths.store, paths.ledger)
    missing = config.planned_trials - len(ledger.searched(records))
    if missing > 0:
        raise UserError(
            f"{paths.store.uri}/{paths.ledger}: {missing} of {config.planned_trials} trials have not "
            "ended; `dpo-sweeps resume` finishes the sweep"
        )
    return records
