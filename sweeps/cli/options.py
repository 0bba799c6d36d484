"""Arguments, exit codes and output that the commands share.

Tested in tests/unit/sweeps/cli/test_app.py.
"""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.cli.log_handlers import start_clock
from sweeps.cli.printable import PrintableOnly, printable_json

if TYPE_CHECKING:
    from rich.console import Console

    from sweeps.config.schema import SweepConfig
    from sweeps.run_dir.json_types import SelectionJson
    from sweeps.run_dir.paths import SweepPaths

log = logging.getLogger("dpo_sweeps")

# For commands that end without a UserError; a UserError has its own.
EXIT_DEFECT, EXIT_NOTHING_ADMISSIBLE, EXIT_INTERRUPTED = 1, 4, 130

ChoiceOverrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a key: `--set selection.min_margin=0`. May be repeated."),
]
SweepFile = Annotated[Path, typer.Argument(help="The sweep's YAML.", show_default=False)]
SweepFolder = Annotated[
    str, typer.Argument(help="Folder or URI of a sweep, as `run` printed it.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a key: `--set search.trials=20`. May be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout and nothing else there.")]


def run_visibly(config: SweepConfig, paths: SweepPaths) -> SelectionJson:
    """Run or resume a sweep with progress on stderr; signals end it so that it can be resumed."""
    from sweeps.cli.terminal import Progress
    from sweeps.sweep import run_sweep

    start_clock()
    progress = Progress(
        steps=config.training.max_steps,
        objective=config.selection.objective,
    )
    # SIGTERM, which schedulers and `ray job stop` send, ends a sweep as Ctrl-C does: it can be
    # resumed. SIGINT is set too, since a shell starts background jobs with it ignored.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.default_int_handler)
    # Libraries print to stdout, where --json promises JSON and nothing else.
    with contextlib.redirect_stdout(sys.stderr):
        return run_sweep(config, paths, progress.on_event)


def sweep_paths(config: SweepConfig, sweep_id: str | None = None) -> SweepPaths:
    """Return the paths of a new sweep, under a new id unless one is given.

    Raises:
        SettingsError: `sweep_id` cannot be a folder's name.
    """
    from sweeps.ray_runtime.connect import in_job_folder
    from sweeps.run_dir.paths import SweepPaths, checked_sweep_id, new_sweep_id, open_storage

    if sweep_id is not None:
        checked_sweep_id(sweep_id)
    storage = open_storage(config.storage)
    if in_job_folder() and "://" not in config.storage and not Path(config.storage).is_absolute():
        log.warning(
            f"storage {config.storage} lies in the job's working directory, which Ray "
            f"removes some day: {storage.uri}; give an absolute path or a URI",
        )
    return SweepPaths(storage, sweep_id or new_sweep_id(config.name))


def show(selection: SelectionJson, json_: bool) -> None:
    """Print the verdict, the leaderboard and the winner of a sweep on stdout."""
    if json_:
        print_json(selection)
        return
    from sweeps.cli.terminal import confirmation, failures, leaderboard, winner

    console = stdout_console()
    console.print(selection["verdict"]["sentence"], style="bold", markup=False, highlight=False)
    console.print(leaderboard(selection))
    confirmation_table = confirmation(selection)
    if confirmation_table:
        console.print(confirmation_table)
    if selection["winner"]:
        console.print(winner(selection))
    failure_line = failures(selection)
    if failure_line:
        console.print(failure_line, style="yellow", markup=False)


def stdout_console() -> Console:
    """Return a console for stdout, wide enough for the tables where there is no terminal."""
    from rich.console import Console

    # The log of a job has no width; Rich's 80 columns would break the tables.
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    console.push_render_hook(PrintableOnly())
    return console


def print_json(content: object) -> None:
    """Print `content` as JSON on stdout."""
    print(printable_json(json.dumps(content, indent=2, ensure_ascii=False)))
