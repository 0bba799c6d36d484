"""The config with which a command goes on with a sweep that has begun: `run`, `resume`, `submit`.

What may change is decided in `sweeps.config.changes`. Tested in
tests/unit/sweeps/cli/test_going_on.py.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dpo_core.errors import SettingsError
from sweeps.config.changes import Stage, changed_by_file, changed_by_overrides, left_out
from sweeps.config.load import Tree, config_of
from sweeps.run_dir import ledger
from sweeps.run_dir.config_file import may_have_trials, read_config
from sweeps.run_dir.ledger import searched

if TYPE_CHECKING:
    from sweeps.config.schema import SweepConfig
    from sweeps.run_dir.paths import SweepPaths

log = logging.getLogger("dpo_sweeps")


def config_by_file(paths: SweepPaths, tree: Tree, source: str) -> SweepConfig:
    """Return the config with which a sweep goes on whose YAML is given again.

    Args:
        paths: The run directory, which holds the config so far.
        tree: The keys of the YAML, with `--set` applied.
        source: The name of the YAML, for messages.

    Returns:
        The config, with what may change.

    Raises:
        SettingsError: A key differs that may not change; a line for each.
    """
    stored = read_config(paths)
    if _stage(paths) == "prepare":
        return config_of(tree, source=source)
    for kept in left_out(stored, tree, source=source):
        log.info(f"{source} leaves out {kept.key}: it stays {kept.shown_old}, as the sweep has it")
    return _with_ended_trials(paths, changed_by_file(stored, tree, source=source), source)


def config_by_overrides(paths: SweepPaths, overrides: Sequence[str]) -> SweepConfig:
    """Return the config with which a sweep goes on by its folder alone, and by `--set`.

    Args:
        paths: The run directory.
        overrides: `key.key=value` each.

    Returns:
        The config, with what may change.

    Raises:
        SettingsError: A key differs that may not change; a line for each.
    """
    source = f"{paths.store.uri}/{paths.config}"
    stored, stage = read_config(paths), _stage(paths)
    config = changed_by_overrides(stored, overrides, source=source, stage=stage)
    return _with_ended_trials(paths, config, source) if stage == "search" else config


def _with_ended_trials(paths: SweepPaths, config: SweepConfig, source: str) -> SweepConfig:
    """Return the config. Raises SettingsError if it asks for fewer trials than have ended."""
    ended = len(searched(ledger.read(paths.store, paths.ledger)))
    if config.search.trials < ended:
        raise SettingsError(
            f"{source}: search.trials: {config.search.trials} is fewer than the {ended} trials that "
            f"have ended; give {ended} or more"
        )
    return config


def _stage(paths: SweepPaths) -> Stage:
    return "search" if may_have_trials(paths) else "prepare"
