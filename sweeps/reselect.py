"""The choice replayed on a sweep that ended: other limits, another objective, another incumbent.

It reads records and outcomes and trains nothing. Only with `write` does it touch the folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from dpo_core.errors import SettingsError, UserError
from sweeps.config.load import parse_sweep
from sweeps.config.schema import SweepConfig
from sweeps.finalize.finalize import choose_with_answers, finalize_sweep, kept_answers
from sweeps.finalize.incumbent import find_incumbent, is_scored
from sweeps.finalize.selection_json import SelectionInputs, selection_json
from sweeps.ray_runtime.connect import connected
from sweeps.ray_runtime.remote_call import remote_call_for
from sweeps.report.write import try_write_report
from sweeps.run_dir import ledger
from sweeps.run_dir.config_file import read_config, write_config
from sweeps.run_dir.ledger import TrialRecord
from sweeps.run_dir.lock import held
from sweeps.run_dir.paths import SweepPaths
from sweeps.selection.candidates import CandidateReader
from sweeps.selection.confirmation import confirmed, eligible_candidates

_PART = "selection."


def replayed_config(paths: SweepPaths, overrides: Sequence[str]) -> SweepConfig:
    """The sweep's own with other `selection.*` keys. Raises SettingsError for any other key."""
    for override in overrides:
        if not override.strip().startswith(_PART):
            raise SettingsError(
                f"--set {override}: the trials have run, so only keys of {_PART}* can be set; start "
                "another sweep for the rest"
            )
    read_config(paths)  # says what is wrong with the folder
    text = paths.store.read(paths.config).decode()
    return parse_sweep(text, source=f"{paths.store.uri}/{paths.config}", overrides=overrides)


def replay(config: SweepConfig, paths: SweepPaths) -> dict[str, Any]:
    """What selection.json would hold, as far as it is known without asking any model."""
    records, incumbent = _ended(config, paths), find_incumbent(config)
    if incumbent and not is_scored(paths, incumbent, "select"):
        raise UserError(
            f"selection.incumbent: {incumbent.path} was never scored on this sweep's pairs; --write "
            "does that"
        )
    reader = CandidateReader(paths, config.selection)
    candidates = reader.candidates(records)
    points = confirmed(reader.finalists(records), candidates, records)
    eligible, choice = choose_with_answers(
        eligible_candidates(points, candidates, records),
        reader.groups,
        config.selection.guardrails,
        kept_answers(paths),
    )
    inputs = SelectionInputs(
        records, candidates, points, eligible, choice, reader.groups, incumbent
    )
    return cast("dict[str, Any]", selection_json(config, paths, inputs))


def rewrite(
    config: SweepConfig,
    paths: SweepPaths,
    *,
    open_final_again: bool,
) -> dict[str, Any]:
    """Make the replayed choice the sweep's: export, final scores, selection.json, config.yaml.

    Raises FinalSpent when final was opened for another choice, unless told to open it again.
    """
    with held(paths.leases, paths.sweep_id), connected():
        records, call = _ended(config, paths), remote_call_for(config)
        told = finalize_sweep(config, paths, records, call, open_final_again=open_final_again)
        write_config(config, paths)
    try_write_report(paths)
    return told


def _ended(config: SweepConfig, paths: SweepPaths) -> list[TrialRecord]:
    records = ledger.read(paths.store, paths.ledger)
    missing = config.search.trials - len(ledger.searched(records))
    if missing > 0:
        raise UserError(
            f"{paths.store.uri}: {missing} of {config.search.trials} trials have not ended; "
            "`dpo-sweeps resume` finishes the sweep"
        )
    return records
