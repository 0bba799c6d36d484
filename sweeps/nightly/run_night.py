"""One night: a sweep under the night's date that knows the earlier nights and is judged against the
incumbent; then the pointers, the trend and a message.

Whatever is started twice in a night resumes, or does nothing. Every step after the sweep may be
repeated, so that a night that died on its last metre is finished by the next start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from dpo_core.errors import SettingsError
from dpo_core.storage.store import Store
from sweeps.config.load import resolved
from sweeps.config.schema import SweepConfig
from sweeps.nightly.code_version import code_version
from sweeps.nightly.pointers import (
    move_latest,
    now,
    promote,
    read_json,
    standing_incumbent,
    write_json,
)
from sweeps.nightly.trend import night_row, trend
from sweeps.nightly.webhook import notify
from sweeps.report.write import try_write_report
from sweeps.run_dir.config_file import read_config
from sweeps.run_dir.lock import Busy, held
from sweeps.run_dir.paths import NightPaths, SweepPaths
from sweeps.run_dir.prepared import Prepared
from sweeps.search import warm_start
from sweeps.sweep import NoWinner, read_selection

log = logging.getLogger("dpo_sweeps")

Run = Callable[[SweepConfig, SweepPaths], object]


@dataclass(frozen=True)
class Night:
    """A night that has ended: its night.json, its selection.json, and the rows of all nights."""

    about: Mapping[str, Any]
    selection: Mapping[str, Any]
    trend: list[dict[str, Any]]


def run_night(config: SweepConfig, storage: Store, run: Run, night: date | None = None) -> Night:
    """`run(config, paths)` runs or resumes the sweep. `night` is tonight unless given.

    Raises Busy when another start is at work on nights of this name, and whatever `run` raises,
    except NoWinner: then the night has ended without a winner, and the result says so.
    """
    nights = NightPaths(storage, config.name)
    tonight = night or config.nightly.night_of(datetime.now(UTC))
    paths = nights.sweep(tonight)
    with held(paths.leases, nights.lease):
        try:
            _check_is_night(paths)
            if paths.store.exists(paths.selection):
                log.info(f"{paths.sweep_id} has ended already; nothing to run")
            else:
                _run(config, nights, tonight, run)
            ended = _conclude(nights, tonight)
        except Busy:
            raise
        except Exception as error:
            notify(f"{paths.sweep_id} failed: {type(error).__name__}: {error}")
            raise
        return _tell(nights, tonight, ended)


def _check_is_night(paths: SweepPaths) -> None:
    if paths.store.exists(paths.prepared) and not paths.store.exists(paths.night):
        raise SettingsError(
            f"{paths.store.uri}: is a sweep, but was not run as a night; rename it, or the nights"
        )


def _run(config: SweepConfig, nights: NightPaths, night: date, run: Run) -> None:
    paths = nights.sweep(night)
    if paths.store.exists(paths.prepared):
        begun = read_config(paths)
        log.info(f"{paths.sweep_id} goes on" + _changed(config, begun))
        config = begun
    else:
        config = _begin(config, nights, night)
    try:
        run(config, paths)
    except NoWinner as error:  # its selection.json says the same
        log.info(str(error))


def _begin(config: SweepConfig, nights: NightPaths, night: date) -> SweepConfig:
    """Writes what the night starts from into its folder, and returns its config."""
    paths = nights.sweep(night)
    standing = standing_incumbent(nights)
    found, problems = warm_start.collect(config, _earlier(config, nights, night))
    for problem in problems:
        log.info(problem)
    warm_start.write(paths, found)
    about = {
        "night": night.isoformat(),
        "sweep": paths.sweep_id,
        "started": now(),
        "code": code_version(),
        "workers": config.resources.workers,
        "gpus_per_worker": config.resources.gpus_per_worker,
        "incumbent": standing,
        "control": _write_control(config, paths, standing),
    }
    write_json(paths.store, paths.night, about)
    if standing is None:
        return config
    selection = config.selection.model_copy(update={"incumbent": standing["path"]})
    return config.model_copy(update={"selection": selection})


def _earlier(config: SweepConfig, nights: NightPaths, night: date) -> list[SweepPaths]:
    found = [nights.sweep(each) for each in nights.nights() if each < night]
    return found[max(0, len(found) - config.nightly.warm_start_nights) :]


def _write_control(
    config: SweepConfig, paths: SweepPaths, standing: Mapping[str, Any] | None
) -> str | None:
    """The incumbent's point as the first trial: a point that was drawn and has not run runs first."""
    if standing is None:
        return None
    why_not = config.search_space.why_not(standing["point"])
    if why_not:
        log.info(f"the incumbent's point is not run again, since the space has changed: {why_not}")
        return None
    trial = paths.trial_name(0)
    row = {"trial": trial, "point": standing["point"], "seed": config.seed}
    write_json(paths.store, paths.point(trial), row)
    return trial


def _changed(config: SweepConfig, begun: SweepConfig) -> str:
    """A night goes on as it began, whatever its file says by now."""

    def tree(of: SweepConfig) -> dict[str, Any]:
        plain = resolved(of, "")
        return {**plain, "selection": {**plain["selection"], "incumbent": None}}

    return (
        "" if tree(config) == tree(begun) else "; the config has changed and counts from tomorrow"
    )


def _conclude(nights: NightPaths, night: date) -> dict[str, Any]:
    """Moves the pointers and writes what ran, once; returns night.json."""
    paths = nights.sweep(night)
    about = read_json(paths.store, paths.night) or {}
    if "ended" in about:
        return about
    selection, prepared = read_selection(paths), Prepared.read(paths)
    move_latest(nights, about, selection)
    about |= {
        "ended": now(),
        "data_sha256": prepared.data_sha256,
        "weights_sha256": prepared.weights_sha256,
        "warm_started": len(warm_start.read(paths, prepared.weights_sha256)),
        "verdict": selection["verdict"]["word"],
        "promoted": promote(nights, about, selection),
        "told": False,
    }
    write_json(paths.store, paths.night, about)
    return about


def _tell(nights: NightPaths, night: date, about: dict[str, Any]) -> Night:
    paths = nights.sweep(night)
    selection, rows = read_selection(paths), trend(_rows(nights))
    if rows != read_json(paths.store, paths.trend):
        write_json(paths.store, paths.trend, rows)
        try_write_report(paths)  # again, with tonight among the nights
    if not about["told"] and notify(message(rows, about["night"], selection)):
        about["told"] = True
        write_json(paths.store, paths.night, about)
    return Night(about, selection, rows)


def _rows(nights: NightPaths) -> list[dict[str, Any]]:
    """Of every night that has ended."""
    rows = []
    for paths in map(nights.sweep, nights.nights()):
        about = read_json(paths.store, paths.night) or {}
        if "ended" in about:
            rows.append(night_row(about, read_selection(paths)))
    return rows


def message(rows: list[dict[str, Any]], night: str, selection: Mapping[str, Any]) -> str:
    """What a chat is told of a night, in Slack's markup."""
    row = next(row for row in rows if row["night"] == night)
    failed = ", ".join(f"{reason} {count}" for reason, count in sorted(row["failures"].items()))
    changed = [name for name in ("data", "code") if row[f"{name}_changed"]]
    lines = [
        f"*{row['sweep']}: {row['verdict']}*" + (" (new incumbent)" if row["promoted"] else ""),
        selection["verdict"]["sentence"],
        f"{row['trials']} trials, {row['failed']} failed{f' ({failed})' if failed else ''}, "
        f"{row['worker_hours']:.1f} worker hours, {row['gpu_hours']:.1f} GPU hours",
        f"changed since the night before: {' and '.join(changed)}" if changed else "",
        selection["folder"],
    ]
    return "\n".join(line for line in lines if line)
