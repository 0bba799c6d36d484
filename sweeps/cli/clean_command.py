"""`dpo-sweeps clean`: what sweeps that ended keep and nothing needs any more.

Tested in tests/unit/sweeps/test_clean.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.cli.options import AsJson, print_json, stdout_console
from sweeps.cli.printable import print_line

if TYPE_CHECKING:
    from sweeps.clean import Cleanable


def clean(
    folder: Annotated[
        str,
        typer.Argument(help="Folder or URI of a storage, or of one sweep.", show_default=False),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; else it is listed.")] = False,
    unfinished: Annotated[
        list[str] | None,
        typer.Option(help="Id of a sweep that has not ended, to be cleaned too. May be repeated."),
    ] = None,
    json_: AsJson = False,
) -> None:
    """List what sweeps that ended could give back: checkpoints and Ray's files; `--yes` removes it.

    The model in `best/`, ledger, choice, outcomes, answers and reports stay. `select --write` can then
    keep the choice, and no longer change it. A sweep that runs is never touched.
    """
    from sweeps.clean import clean as remove
    from sweeps.clean import find_cleanable

    sweeps = find_cleanable(folder, unfinished or [])
    if yes:
        sweeps = remove(sweeps)
    if json_:
        print_json(
            {
                "removed": yes,
                "bytes": sum(each.removed_bytes for each in sweeps),
                "sweeps": [
                    {
                        "sweep": each.paths.sweep_id,
                        "state": each.state,
                        "bytes": each.bytes,
                        "why_not": each.why_not,
                    }
                    for each in sweeps
                ],
            }
        )
        return
    _print(sweeps, folder, was_removed=yes)


def _print(sweeps: Sequence[Cleanable], folder: str, *, was_removed: bool) -> None:
    from rich.table import Table

    from sweeps.clean import REMOVED

    table = Table()
    for name in ("sweep", "state", *(f"{name}/" for name in REMOVED), "why not"):
        table.add_column(name, overflow="fold")
    for each in sweeps:
        sizes = [size_in_words(each.bytes.get(name, 0)) for name in REMOVED]
        table.add_row(each.paths.sweep_id, each.state, *sizes, each.why_not or "")
    stdout_console().print(table)
    total = size_in_words(sum(each.removed_bytes for each in sweeps))
    if was_removed:
        print_line(f"removed {total}")
    else:
        print_line(f"{total} to give back; `dpo-sweeps clean {folder} --yes` removes it")


def size_in_words(size: int) -> str:
    """Return a number of bytes with the unit that suits it."""
    if size == 0:
        return "-"
    value, units = float(size), ["B", "KiB", "MiB", "GiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"
