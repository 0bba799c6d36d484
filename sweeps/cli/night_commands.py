"""`dpo-sweeps nightly`: what cron, systemd or Kubernetes starts every evening."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated

import typer

from sweeps.cli.options import (
    EXIT_NOTHING_ADMISSIBLE,
    AsJson,
    Overrides,
    SweepFile,
    print_json,
    run_visibly,
    show,
    stdout_console,
    sweep_paths,
)

_SHOWN_NIGHTS = 14


def _date_of(text: str) -> date:
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            return date.fromisoformat(text)
    except ValueError:  # such as the 31st of February
        pass
    raise typer.BadParameter(f"{text!r} is no date; write one such as 2026-11-29")


def nightly(
    sweep: SweepFile,
    set_: Overrides = None,
    json_: AsJson = False,
    night: Annotated[
        date | None,
        typer.Option(
            "--date",
            parser=_date_of,
            metavar="YYYY-MM-DD",
            help="The night, instead of the one that is now.",
        ),
    ] = None,
    strict_exit: Annotated[
        bool,
        typer.Option("--strict-exit", help="Exit code 4 when no checkpoint can win, instead of 0."),
    ] = False,
) -> None:
    """Run tonight's sweep: warm-started from earlier nights, judged against the incumbent.

    Started again in the same night it resumes, or does nothing when the night has ended. A night
    that changes nothing is a success, exit code 0; 75 means that another process runs it already.
    Keys under `nightly:` say when a night begins.
    """
    from sweeps.cli.terminal import nights
    from sweeps.config.load import load_sweep
    from sweeps.nightly.run_night import run_night
    from sweeps.sweep import NoWinner

    config = load_sweep(sweep, set_ or [])
    ended = run_night(
        config,
        sweep_paths(config).storage,
        run_visibly,
        night,
    )
    if json_:
        print_json(vars(ended))
    else:
        show(ended.selection, json_=False)
        stdout_console().print(nights(ended.trend[-_SHOWN_NIGHTS:]))
    if ended.selection["winner"] is None and not ended.selection["candidates"]:
        raise typer.Exit(NoWinner.exit_code)
    if ended.selection["winner"] is None and strict_exit:
        raise typer.Exit(EXIT_NOTHING_ADMISSIBLE)
