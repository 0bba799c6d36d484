"""The two files that point into the nights: `latest.json` at the newest night that has ended,
`incumbent.json` at the model that a winner must beat.

They are files rather than links, which object stores do not have; each is replaced whole.

Tested in tests/unit/sweeps/nightly/test_run_night.py.
"""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime
from typing import cast

from dpo_core.errors import SettingsError
from sweeps.run_dir import json_files
from sweeps.run_dir.exported import ExportedModel
from sweeps.run_dir.json_types import NightJson, PointerJson, SelectionJson, WinnerJson
from sweeps.run_dir.paths import NightPaths, SweepPaths
from sweeps.selection.verdict import BETTER

log = logging.getLogger("dpo_sweeps")


def read_incumbent(nights: NightPaths) -> PointerJson | None:
    """Return the incumbent of the nights, or None before there is one.

    Raises:
        SettingsError: its model is gone.
        DamagedFile: a file of its model is damaged.
    """
    pointer = _pointer(nights)
    if pointer is None:
        return None
    model = _model_at(nights, pointer["path"], f"{nights.storage.uri}/{nights.incumbent}")
    if not model.exists:
        raise SettingsError(
            f"{nights.storage.uri}/{nights.incumbent}: points at {pointer['path']}, where no model is "
            "any more; restore it, or delete the pointer to begin without an incumbent"
        )
    model.check()
    return pointer


def deserves_promotion(nights: NightPaths, about: NightJson, selection: SelectionJson) -> bool:
    """Return whether the night's winner is the incumbent from now on: its verdict is `better`.

    The incumbent stays when it is no longer the one that the winner was compared with.

    Args:
        nights: the nights of one name.
        about: night.json of the night.
        selection: selection.json of its sweep.

    Raises:
        DamagedFile: a file of the winner's model is damaged.
    """
    incumbent = _pointer(nights)
    if incumbent is not None and incumbent["sweep"] == about["sweep"]:
        return True  # an earlier start of this night promoted it
    winner = selection["winner"]
    if winner is None or winner["path"] is None or selection["verdict"]["word"] != BETTER:
        return False
    if incumbent != about["incumbent"]:
        log.info("the incumbent has changed since the night began, so it stays")
        return False
    selection_file = f"{selection['folder']}/{SweepPaths.selection}"
    _model_at(nights, winner["path"], selection_file).check()
    return True


def _model_at(nights: NightPaths, path: str, source: str) -> ExportedModel:
    """Return the model at a path that a file of the nights names.

    Args:
        nights: the nights of one name.
        path: where the model should be.
        source: the file that says so.

    Returns:
        The model.

    Raises:
        SettingsError: the path leads out of the nights' storage: somebody else may have written it.
    """
    if not nights.storage.holds(path):
        raise SettingsError(
            f"{source}: points at {path}, outside of the nights' storage {nights.storage.uri}; restore "
            "the file from a copy, or delete it and give that model as selection.incumbent"
        )
    return ExportedModel.at(path)


def move_pointers(
    nights: NightPaths, about: NightJson, selection: SelectionJson, tonight: date
) -> None:
    """Point `latest.json` at a night that has ended, and `incumbent.json` if it was promoted.

    Doing it again changes nothing. A later night stays the latest, unless it is still to come:
    somebody's clock or a mistyped date would otherwise keep it for years.

    Args:
        nights: the nights of one name.
        about: night.json of the night, which says whether its winner was promoted.
        selection: selection.json of its sweep, with or without a winner.
        tonight: the night that is now.
    """
    winner = selection["winner"]
    latest = json_files.LATEST.rebuildable(nights.storage, nights.latest)
    is_later = latest is not None and about["night"] < latest["night"] <= tonight.isoformat()
    if not is_later:
        pointer = {
            "night": about["night"],
            "sweep": about["sweep"],
            "folder": selection["folder"],
            "path": winner and winner["path"],
        }
        json_files.LATEST.write(nights.storage, nights.latest, pointer)
    if about["promoted"] and winner is not None:
        _write_incumbent(nights, about, winner)


def _write_incumbent(nights: NightPaths, about: NightJson, winner: WinnerJson) -> None:
    before = json_files.INCUMBENT.rebuildable(nights.storage, nights.incumbent)
    if before is None or before["sweep"] != about["sweep"]:
        content = _incumbent(about, winner)
        json_files.INCUMBENT.write(nights.storage, nights.incumbent, content)


def _incumbent(about: NightJson, winner: WinnerJson) -> PointerJson:
    about_night = {"night": about["night"], "sweep": about["sweep"], "since": now()}
    return cast("PointerJson", {**winner, **about_night})


def _pointer(nights: NightPaths) -> PointerJson | None:
    """Return what `incumbent.json` says; one that is damaged is written again from the nights."""
    pointer: PointerJson | None
    pointer = json_files.INCUMBENT.rebuildable(nights.storage, nights.incumbent)
    if pointer is not None or not nights.storage.exists(nights.incumbent):
        return pointer
    for paths in map(nights.sweep, reversed(nights.nights())):
        about = json_files.NIGHT.rebuildable(paths.store, paths.night)
        selection = json_files.SELECTION.rebuildable(paths.store, paths.selection)
        if about and about.get("promoted") and selection and selection["winner"]:
            log.warning(f"{nights.incumbent} is written again: {paths.sweep_id} was promoted last")
            rebuilt = _incumbent(about, selection["winner"])
            json_files.INCUMBENT.write(nights.storage, nights.incumbent, rebuilt)
            return rebuilt
    raise json_files.INCUMBENT.damaged(
        nights.storage, nights.incumbent, "is damaged, and no night says what it held"
    )


def now() -> str:
    """Return the time in UTC, to the second, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
