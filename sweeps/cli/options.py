"""What every command has in common: its arguments, its exit codes, how it runs and shows a sweep."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sweeps.cli.log_handlers import start_clock

log = logging.getLogger("dpo_sweeps")

# Of commands that end without a UserError; those carry their own.
EXIT_DEFECT, EXIT_NOTHING_ADMISSIBLE, EXIT_INTERRUPTED = 1, 4, 130

SweepFile = Annotated[Path, typer.Argument(help="The sweep's YAML.", show_default=False)]
SweepFolder = Annotated[
    str, typer.Argument(help="Folder or URI of a sweep, as `run` printed it.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a key: `--set search.trials=20`. May be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout and nothing else there.")]


def run_visibly(config: Any, paths: Any) -> dict[str, Any]:
    """Run or resume a sweep with progress on stderr; signals end it so that it can be resumed."""
    from sweeps.cli.terminal import Progress
    from sweeps.sweep import run_sweep

    start_clock()
    progress = Progress(
        trials=config.search.trials + config.selection.confirm.trials(config.search.trials),
        steps=config.training.max_steps,
        objective=config.selection.objective,
    )
    # What schedulers and `ray job stop` send ends a sweep as Ctrl-C does: cleanly, to be resumed.
    # A shell starts background jobs with SIGINT ignored, so that one is asked for as well.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.default_int_handler)
    # Libraries print what they like; a --json reader wants the JSON alone.
    with contextlib.redirect_stdout(sys.stderr):
        return run_sweep(config, paths, progress.tell)


def sweep_paths(config: Any, sweep_id: str | None = None) -> Any:
    """Of a new sweep, under a new name unless one is given. Raises SettingsError."""
    from dpo_core.storage.store import Store
    from sweeps.ray_runtime.connect import in_job_folder
    from sweeps.run_dir.paths import SweepPaths, checked_sweep_id, new_sweep_id

    if sweep_id is not None:
        checked_sweep_id(sweep_id)
    storage = Store.open(config.storage)
    if in_job_folder() and "://" not in config.storage and not Path(config.storage).is_absolute():
        log.warning(
            f"storage {config.storage} lies in the job's working directory, which Ray "
            f"removes some day: {storage.uri}; give an absolute path or a URI",
        )
    return SweepPaths(storage, sweep_id or new_sweep_id(config.name))


def show(selection: Any, json_: bool) -> None:
    """The judgement of a sweep on stdout."""
    if json_:
        print_json(selection)
        return
    from sweeps.cli.terminal import confirmation, failures, leaderboard, winner

    console = stdout_console()
    console.print(selection["verdict"]["sentence"], style="bold", markup=False, highlight=False)
    console.print(leaderboard(selection))
    confirmed = confirmation(selection)
    if confirmed:
        console.print(confirmed)
    if selection["winner"]:
        console.print(winner(selection))
    failed = failures(selection)
    if failed:
        console.print(failed, style="yellow", markup=False)


def stdout_console() -> Any:
    from rich.console import Console

    # A job's log has no width of its own; 80 columns would break the tables.
    console = Console()
    return console if console.is_terminal else Console(width=120)


def print_json(content: Any) -> None:
    print(json.dumps(content, indent=2, ensure_ascii=False))
