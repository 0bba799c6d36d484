"""The two files that point into the nights: `latest.json` at the newest night that has ended,
`incumbent.json` at the model that a winner must beat.

They are files rather than links, which object stores do not have; each is replaced whole.

Tested in tests/unit/sweeps/nightly/test_run_night.py.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from dpo_core.errors import SettingsError
from sweeps.run_dir import json_files
from sweeps.run_dir.exported import ExportedModel
from sweeps.run_dir.json_types import NightJson, PointerJson, SelectionJson
from sweeps.run_dir.paths import NightPaths
from sweeps.selection.verdict import BETTER

log = logging.getLogger("dpo_sweeps")


def read_incumbent(nights: NightPaths) -> PointerJson | None:
    """Return the incumbent of the nights, or None before there is one.

    Raises:
        SettingsError: its model is gone.
        DamagedFile: a file of its model is damaged.
    """
    pointer: PointerJson | None
    pointer = json_files.INCUMBENT.optional(nights.storage, nights.incumbent)
    if pointer is None:
        return None
    model = ExportedModel.at(pointer["path"])
    if not model.exists:
        raise SettingsError(
            f"{nights.storage.uri}/{nights.incumbent}: points at {pointer['path']}, where no model is "
            "any more; restore it, or delete the pointer to begin without an incumbent"
        )
    model.check()
    return pointer


def move_latest(nights: NightPaths, about: NightJson, selection: SelectionJson) -> None:
    """Point `latest.json` at a night that has ended, unless it points at a later one.

    Args:
        nights: the nights of one name.
        about: night.json of the night.
        selection: selection.json of its sweep, with or without a winner.
    """
    latest = json_files.LATEST.rebuildable(nights.storage, nights.latest)
    if latest is None or latest["night"] <= about["night"]:
        winner = selection["winner"]
        pointer = {
            "night": about["night"],
            "sweep": about["sweep"],
            "folder": selection["folder"],
            "path": winner and winner["path"],
        }
        json_files.LATEST.write(nights.storage, nights.latest, pointer)


def promote(nights: NightPaths, about: NightJson, selection: SelectionJson) -> bool:
    """Make the night's winner the incumbent when its verdict is `better`.

    It stays what it was when it is no longer the one that the winner was compared with.

    Args:
        nights: the nights of one name.
        about: night.json of the night.
        selection: selection.json of its sweep.

    Returns:
        Whether the night's winner is the incumbent from now on.

    Raises:
        DamagedFile: a file of the winner's model is damaged.
    """
    incumbent: PointerJson | None
    incumbent = json_files.INCUMBENT.optional(nights.storage, nights.incumbent)
    if incumbent is not None and incumbent["sweep"] == about["sweep"]:
        return True  # an earlier start of this night promoted it
    winner = selection["winner"]
    if winner is None or winner["path"] is None or selection["verdict"]["word"] != BETTER:
        return False
    if incumbent != about["incumbent"]:
        log.info("the incumbent has changed since the night began, so it stays")
        return False
    ExportedModel.at(winner["path"]).check()
    pointer = {"night": about["night"], "sweep": about["sweep"], **winner, "since": now()}
    json_files.INCUMBENT.write(nights.storage, nights.incumbent, pointer)
    return True


def now() -> str:
    """Return the time in UTC, to the second, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
