"""The two files that point into the nights: `latest.json`, and `incumbent.json`, which moves only to a
model that was better. Files rather than links, which object stores do not have; each is replaced
whole.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dpo_core.errors import SettingsError
from dpo_core.storage.store import Store
from sweeps.run_dir.paths import NightPaths, SweepPaths
from sweeps.selection.verdict import BETTER

log = logging.getLogger("dpo_sweeps")


def standing_incumbent(nights: NightPaths) -> dict[str, Any] | None:
    pointer: dict[str, Any] | None = read_json(nights.storage, nights.incumbent)
    if pointer and not SweepPaths.of_folder(pointer["path"]).store.exists("config.json"):
        raise SettingsError(
            f"{nights.storage.uri}/{nights.incumbent}: points at {pointer['path']}, where no model is "
            "any more; restore it, or delete the pointer to begin without an incumbent"
        )
    return pointer


def move_latest(nights: NightPaths, about: Mapping[str, Any], selection: Mapping[str, Any]) -> None:
    """To the newest night that has ended, with or without a winner."""
    latest = read_json(nights.storage, nights.latest)
    if latest is None or latest["night"] <= about["night"]:
        winner = selection["winner"]
        pointer = {key: about[key] for key in ("night", "sweep")}
        pointer |= {"folder": selection["folder"], "path": winner and winner["path"]}
        write_json(nights.storage, nights.latest, pointer)


def promote(nights: NightPaths, about: Mapping[str, Any], selection: Mapping[str, Any]) -> bool:
    """Whether the night's winner is the incumbent from now on: only when it is better than the one
    that stands, which is still the one that it was compared with."""
    standing = read_json(nights.storage, nights.incumbent)
    if standing is not None and standing["sweep"] == about["sweep"]:
        return True  # an earlier start of this night got that far
    if selection["verdict"]["word"] != BETTER:
        return False
    if standing != about["incumbent"]:
        log.info("the incumbent has changed since the night began, so it stays")
        return False
    winner = selection["winner"]
    pointer = {key: about[key] for key in ("night", "sweep")}
    pointer |= {key: winner[key] for key in ("trial", "step", "seed", "point", "path")}
    write_json(nights.storage, nights.incumbent, {**pointer, "since": now()})
    return True


def read_json(store: Store, name: str) -> Any:
    """None when there is no such file."""
    if not store.exists(name):
        return None
    return json.loads(store.read(name))


def write_json(store: Store, name: str, content: object) -> None:
    store.write(name, json.dumps(content, indent=2, allow_nan=False).encode())


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
