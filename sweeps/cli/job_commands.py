"""The commands `submit`, `status`, `logs`, `stop` and `list`: sweeps as jobs of a Ray cluster.

Tested in tests/integration/test_jobs.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpo_core.wording import counted
from sweeps.cli.options import EXIT_INTERRUPTED, AsJson, Overrides, SweepFile, print_json
from sweeps.cli.printable import PrintableOnly, print_line, printable

if TYPE_CHECKING:
    from sweeps.config.load import Tree
    from sweeps.jobs.client import Job

EXIT_NOT_YET = 75

Address = Annotated[
    str,
    typer.Option(
        envvar="RAY_API_SERVER_ADDRESS",
        help="The cluster's dashboard, as in http://HEAD:8265.",
        show_default=False,
    ),
]
Name = Annotated[
    str, typer.Argument(help="Id of a submitted sweep, or of a job.", show_default=False)
]
JobAddress = Annotated[
    str | None,
    typer.Option(
        "--address", help="Dashboard of a cluster, http://HEAD:8265: FOLDER is an id there."
    ),
]


def add_job_commands(app: typer.Typer) -> None:
    """Register the commands with `app`."""
    commands: dict[str, Callable[..., None]] = {
        "submit": submit,
        "status": status,
        "logs": logs,
        "stop": stop,
        "list": list_jobs,
    }
    for name, command in commands.items():
        app.command(name)(command)


def submit(
    sweep: SweepFile,
    address: Address,
    set_: Overrides = None,
    id_: Annotated[
        str | None,
        typer.Option(
            "--id",
            help="Id of the job and of the run directory; by default the sweep's name and the date "
            "(UTC).",
        ),
    ] = None,
    nightly: Annotated[
        bool, typer.Option("--nightly", help="Run `nightly`; the id is the name and tonight.")
    ] = False,
    working_dir: Annotated[
        Path,
        typer.Option(
            help="Its git-tracked files travel to the cluster (without git: Python, YAML and the data "
            "that the config names), no keys, weights or run directories; relative paths start there."
        ),
    ] = Path(),
    include: Annotated[
        list[str] | None,
        typer.Option(help="Pattern of files that travel, too. May be repeated."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Pattern of files that stay here. May be repeated."),
    ] = None,
    runtime_env: Annotated[
        Path | None,
        typer.Option(help="YAML with more of Ray's runtime environment: pip, env_vars."),
    ] = None,
    entrypoint_cpus: Annotated[
        float, typer.Option(min=0, help="CPUs of the sweep's driver, which mostly waits.")
    ] = 0,
    entrypoint_resource: Annotated[
        str | None,
        typer.Option(
            help="Custom resource of the nodes that may run the driver "
            "[default: resources.driver_resource; else the head]"
        ),
    ] = None,
    json_: AsJson = False,
) -> None:
    """Submit a sweep to a Ray cluster, once: submitting it again does nothing while it waits, runs
    or is done, and goes on with it when it was stopped or failed."""
    from dpo_core.model_code import warn_of_code
    from sweeps.config.load import config_of, read_tree
    from sweeps.jobs.client import Jobs
    from sweeps.jobs.submission import make_submission, read_runtime_env

    tree = read_tree(sweep, set_ or [])
    config = config_of(tree, source=str(sweep))
    warn_of_code(config.model)
    submission = make_submission(
        config,
        sweep,
        set_ or [],
        sweep_id=id_,
        nightly=nightly,
        working_dir=working_dir,
        include=include or [],
        exclude=exclude or [],
        runtime_env=read_runtime_env(runtime_env) if runtime_env else None,
    )
    if not nightly:
        _refuse_changes(submission.folder, tree, str(sweep))
    resource = entrypoint_resource or config.resources.driver_resource
    job, is_new = Jobs(address).submit(
        submission,
        entrypoint_num_cpus=entrypoint_cpus,
        entrypoint_resources={resource: 0.001} if resource else None,
    )
    if json_:
        print_json({**_row(job), "new": is_new})
        return
    print_line(
        f"{job.job_id}: {'submitted' if is_new else f'is there already, {job.status.lower()}'}"
    )
    if is_new:
        files, size = submission.upload.files, submission.upload.bytes
        print_line(f"{counted(len(files), 'file')} travelled, {size / 2**20:.1f} MiB")
    print_line(f"dpo-sweeps logs -f {submission.sweep_id} --address {address}")


def _refuse_changes(folder: str, tree: Tree, source: str) -> None:
    """Refuse what a sweep that goes on may not change, where this machine has its folder too.

    Elsewhere the job refuses it.
    """
    from sweeps.cli.going_on import config_by_file
    from sweeps.run_dir.paths import SweepPaths

    if Path(folder, SweepPaths.config).is_file():
        config_by_file(SweepPaths.of_folder(folder), tree, source)


def status(name: Name, address: Address, json_: AsJson = False) -> None:
    """Show whether a submitted sweep waits, runs or has ended, its trials, and the time left.

    Exit code 0: succeeded; 75: waits or runs; 130: stopped; else that of its `run`.
    """
    from sweeps.jobs.client import Jobs
    from sweeps.trials.progress import last_progress

    jobs = Jobs(address)
    job = jobs.find(name)
    log = jobs.logs(job) if job.attempt and job.started_s else ""
    progress = last_progress(log)
    if json_:
        print_json({**_row(job), "progress": progress and vars(progress)})
    else:
        print_line(f"{job.job_id}: {job.status.lower()}   {job.message}".rstrip())
        if progress:
            print_line(progress)
        if job.status == "FAILED" and log.strip():
            print_line(log.strip().splitlines()[-1])
    raise typer.Exit(exit_code(job))


def logs(
    name: Name,
    address: Address,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Until the job ends; then exit as `status` does.")
    ] = False,
) -> None:
    """Print the log of a submitted sweep."""
    from sweeps.jobs.client import Jobs

    jobs = Jobs(address)
    job = jobs.find(name)
    if not follow:
        sys.stdout.write(printable(jobs.logs(job)))
        return

    async def print_pieces() -> None:
        async for piece in jobs.follow(job):
            sys.stdout.write(printable(piece))
            sys.stdout.flush()

    with contextlib.suppress(KeyboardInterrupt):  # stops following the log, not the job
        asyncio.run(print_pieces())
        raise typer.Exit(exit_code(jobs.wait(job, 10)))


def stop(name: Name, address: Address) -> None:
    """End a submitted sweep as Ctrl-C would: its state is saved, and submitting it again goes on."""
    from sweeps.jobs.client import Jobs

    jobs = Jobs(address)
    job = jobs.stop(jobs.find(name))
    print_line(f"{job.job_id}: {job.status.lower()}")
    if not job.has_ended:
        raise typer.Exit(EXIT_NOT_YET)


def list_jobs(address: Address, json_: AsJson = False) -> None:
    """List the sweeps that were submitted to a cluster, newest last."""
    from rich.console import Console
    from rich.table import Table

    from sweeps.jobs.client import Jobs

    rows = [_row(job) for job in Jobs(address).all() if job.attempt]
    if json_:
        print_json(rows)
        return
    table = Table()
    columns = ("sweep", "job", "status", "started", "minutes", "folder")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(str(row[name] or "-") for name in columns))
    console = Console()
    console = console if console.is_terminal else Console(width=160)
    console.push_render_hook(PrintableOnly())
    console.print(table)


def exit_code(job: Job) -> int:
    """Return the exit code of `status`: 75 until the job ends, then that of its `run`."""
    if job.status == "STOPPED":
        return EXIT_INTERRUPTED
    if not job.has_ended:
        return EXIT_NOT_YET
    return 0 if job.status == "SUCCEEDED" else job.exit_code or 1


def _row(job: Job) -> dict[str, Any]:
    started, ended = (
        t and datetime.fromtimestamp(t, UTC).isoformat(timespec="seconds")
        for t in (job.started_s, job.ended_s)
    )
    minutes = job.started_s and job.ended_s and round((job.ended_s - job.started_s) / 60, 1)
    return {
        "sweep": job.attempt and job.attempt.sweep_id,
        "job": job.job_id,
        "attempt": job.attempt and job.attempt.number,
        "status": job.status.lower(),
        "exit_code": job.exit_code,
        "started": started,
        "ended": ended,
        "minutes": minutes,
        "folder": job.attempt and job.attempt.folder,
        "message": job.message,
    }
