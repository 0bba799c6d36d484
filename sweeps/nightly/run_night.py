"""One night: a sweep warm-started from earlier nights and compared with the incumbent; then the
pointers, the trend and a message.

A second start in the same night resumes the sweep, or does nothing when the night has ended. Every
step after the sweep can be repeated, so the next start finishes a night that was killed in one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from dpo_core.errors import SettingsError, UserError
from dpo_core.storage.store import Store
from dpo_core.wording import counted
from sweeps.config.changes import Change, config_changes
from sweeps.config.schema import SweepConfig
from sweeps.finalize.final_split import NIGHTS
from sweeps.nightly.code_version import code_version
from sweeps.nightly.pointers import (
    deserves_promotion,
    move_pointers,
    now,
    read_incumbent,
)
from sweeps.nightly.trend import night_row, trend
from sweeps.nightly.webhook import notify
from sweeps.report.write import try_write_report
from sweeps.run_dir import json_files
from sweeps.run_dir.config_file import read_config
from sweeps.run_dir.json_types import NightJson, NightRow, PointerJson, SelectionJson, TrendRow
from sweeps.run_dir.lock import Busy, lock
from sweeps.run_dir.paths import NightPaths, SweepPaths
from sweeps.run_dir.prepared import Prepared
from sweeps.search import warm_start
from sweeps.sweep import NoWinner, read_selection

log = logging.getLogger("dpo_sweeps")

Run = Callable[[SweepConfig, SweepPaths], object]


@dataclass(frozen=True)
class Night:
    """A night that has ended: its night.json, its selection.json, and the rows of all nights."""

    about: NightJson
    selection: SelectionJson
    trend: list[TrendRow]


def run_night(config: SweepConfig, storage: Store, run: Run, night: date | None = None) -> Night:
    """Run or resume a night's sweep, move the pointers, and tell the chat.

    Args:
        config: the sweep; its name is that of the nights.
        storage: where the nights' run directories are.
        run: runs or resumes a sweep, given its config and paths.
        night: the date of the night; by default the one that is now, in the config's time zone.

    Returns:
        The night as it ended, also when no trial was evaluated (`run` raised NoWinner).

    Raises:
        Busy: another process works on nights of this name.
        SettingsError: the run directory of this night was not made by a night, or the night is still
            to come.
    """
    nights = NightPaths(storage, config.name)
    present = config.nightly.night_of(datetime.now(UTC))
    tonight = night or present
    if tonight > present:
        raise SettingsError(
            f"--date: {tonight} is still to come; the night that is now is {present}"
        )
    paths = nights.sweep(tonight)
    with lock(paths.leases, nights.lease, f"the nights of `{config.name}`"):
        try:
            _check_is_night(paths)
            _point_at_earlier(nights, tonight, present)
            if json_files.SELECTION.rebuildable(paths.store, paths.selection) is not None:
                log.info(f"{paths.sweep_id} has ended already; nothing to run")
            else:
                _run(config, nights, tonight, run)
            about = _finish(nights, tonight, present)
        except Busy:
            raise
        except Exception as error:
            notify(f"{paths.sweep_id} failed: {type(error).__name__}: {error}")
            raise
        return _publish(nights, tonight, about)


def _check_is_night(paths: SweepPaths) -> None:
    if not paths.store.exists(paths.prepared):
        return  # it has not begun: whatever is there is written anew
    if json_files.NIGHT.optional(paths.store, paths.night) is None:
        raise SettingsError(
            f"{paths.store.uri}: is a sweep without {paths.night}, so it was not run as a night; "
            "restore that file, or rename the sweep or the nights"
        )


def _run(config: SweepConfig, nights: NightPaths, night: date, run: Run) -> None:
    paths = nights.sweep(night)
    if paths.store.exists(paths.prepared):
        first_config = read_config(paths)
        changed = ", ".join(map(str, _changes_since(first_config, config)))
        later = f"; these changes count from tomorrow: {changed}" if changed else ""
        log.info(f"{paths.sweep_id} goes on{later}")
        config = first_config
    else:
        config = _begin(config, nights, night)
    try:
        run(config, paths)
    except NoWinner as error:  # its selection.json says the same
        log.info(str(error))


def _begin(config: SweepConfig, nights: NightPaths, night: date) -> SweepConfig:
    """Write what the night starts from into its run directory; return its config."""
    paths = nights.sweep(night)
    incumbent = read_incumbent(nights)
    records, problems = warm_start.collect(config, _earlier(config, nights, night))
    for problem in problems:
        log.info(problem)
    warm_start.write(paths, records)
    about: NightJson = {
        "night": night.isoformat(),
        "sweep": paths.sweep_id,
        "started": now(),
        "code": code_version(),
        "workers": config.resources.workers,
        "gpus_per_worker": config.resources.gpus_per_worker,
        "incumbent": incumbent,
        "control": _write_control(config, paths, incumbent),
    }
    json_files.NIGHT.write(paths.store, paths.night, about)
    changes: dict[str, object] = {"final_openings": config.selection.final_openings or NIGHTS}
    if incumbent is not None:
        changes["incumbent"] = incumbent["path"]
    selection = config.selection.model_copy(update=changes)
    return config.model_copy(update={"selection": selection})


def _earlier(config: SweepConfig, nights: NightPaths, night: date) -> list[SweepPaths]:
    earlier = [nights.sweep(each) for each in nights.nights() if each < night]
    return earlier[max(0, len(earlier) - config.nightly.warm_start_nights) :]


def _write_control(
    config: SweepConfig, paths: SweepPaths, incumbent: PointerJson | None
) -> str | None:
    """Write the incumbent's point as the first trial: a drawn point without a record runs first."""
    if incumbent is None:
        return None
    why_not = config.search_space.why_not(incumbent["point"])
    if why_not:
        log.info(f"the incumbent's point is not run again, since the space has changed: {why_not}")
        return None
    trial = paths.trial_name(0)
    row = {"trial": trial, "point": incumbent["point"], "seed": config.seed}
    json_files.POINT.write(paths.store, paths.point(trial), row)
    return trial


def _changes_since(begun: SweepConfig, config: SweepConfig) -> list[Change]:
    """Return what has changed in the YAML since the night began, which goes on as it began."""

    def without_incumbent(of: SweepConfig) -> SweepConfig:
        openings = of.selection.final_openings or NIGHTS
        changes = {"incumbent": None, "final_openings": openings}
        return of.model_copy(update={"selection": of.selection.model_copy(update=changes)})

    return config_changes(without_incumbent(begun), without_incumbent(config))


def _finish(nights: NightPaths, night: date, present: date) -> NightJson:
    """Write how the night ended, and move the pointers, each once; return night.json.

    The file says first what the pointers will say: what ends this in between is made good by the next
    start, of this night or of the next one, and the chat hears of it only then.
    """
    paths = nights.sweep(night)
    about: NightJson = json_files.NIGHT.required(paths.store, paths.night)
    selection = read_selection(paths)
    if "ended" not in about:
        prepared = Prepared.read(paths)
        about["ended"] = now()
        about["data_sha256"] = prepared.data_sha256
        about["final_sha256"] = prepared.files.get(paths.encoded("final"), "")
        about["weights_sha256"] = prepared.weights_sha256
        about["warm_started"] = len(warm_start.read(paths, prepared.weights_sha256))
        about["verdict"] = selection["verdict"]["word"]
        about["promoted"] = deserves_promotion(nights, about, selection)
        about["pointed"] = about["told"] = False
        json_files.NIGHT.write(paths.store, paths.night, about)
    if not about.get("pointed", True):
        move_pointers(nights, about, selection, present)
        about["pointed"] = True
        json_files.NIGHT.write(paths.store, paths.night, about)
    return about


def _point_at_earlier(nights: NightPaths, tonight: date, present: date) -> None:
    """Move the pointers to the night before, if it ended and died before it could."""
    before = [night for night in nights.nights() if night < tonight]
    if not before:
        return
    paths = nights.sweep(before[-1])
    about = json_files.NIGHT.rebuildable(paths.store, paths.night)
    if about is not None and not about.get("pointed", True):
        try:
            _finish(nights, before[-1], present)
        except UserError as error:
            log.warning(f"{paths.sweep_id} is left as it is: {error}")


def _publish(nights: NightPaths, night: date, about: NightJson) -> Night:
    """Write the trend and the report of all nights, and send the message, each once."""
    paths = nights.sweep(night)
    selection, rows = read_selection(paths), trend(_rows(nights))
    if rows != json_files.TREND.rebuildable(paths.store, paths.trend):
        json_files.TREND.write(paths.store, paths.trend, rows)
        try_write_report(paths)  # again, with tonight among the nights
    if not about["told"] and notify(night_message(rows, about["night"], selection)):
        about["told"] = True
        json_files.NIGHT.write(paths.store, paths.night, about)
    return Night(about, selection, rows)


def _rows(nights: NightPaths) -> list[NightRow]:
    """Return a row for every night that has ended, without those that cannot be read.

    A damaged file of an earlier night must not cost tonight.
    """
    rows = []
    for paths in map(nights.sweep, nights.nights()):
        try:
            about: NightJson | None = json_files.NIGHT.optional(paths.store, paths.night)
            if about is not None and "ended" in about:
                rows.append(night_row(about, read_selection(paths)))
        except (UserError, KeyError, TypeError, ValueError) as error:
            log.warning(f"{paths.sweep_id} is left out of the trend: {_reason(error)}")
    return rows


def _reason(error: Exception) -> str:
    return f"a file of it lacks {error}" if isinstance(error, KeyError) else str(error)


def night_message(rows: Sequence[TrendRow], night: str, selection: SelectionJson) -> str:
    """Return the message to a chat about one night.

    Args:
        rows: the trend; has a row for `night`.
        night: the date, as in 2026-11-29.
        selection: selection.json of that night's sweep.

    Returns:
        A few lines in Slack's markup.
    """
    row = next(row for row in rows if row["night"] == night)
    failed = ", ".join(f"{reason} {count}" for reason, count in sorted(row["failures"].items()))
    changes = {"data": row["data_changed"], "code": row["code_changed"]}
    changed = [name for name, has_changed in changes.items() if has_changed]
    lines = [
        f"*{row['sweep']}: {row['verdict']}*" + (" (new incumbent)" if row["promoted"] else ""),
        selection["verdict"]["sentence"],
        f"{counted(row['trials'], 'trial')}, {row['failed']} failed{f' ({failed})' if failed else ''}, "
        f"{row['worker_hours']:.1f} worker hours, {row['gpu_hours']:.1f} GPU hours",
        f"changed since the night before: {' and '.join(changed)}" if changed else "",
        selection["folder"],
    ]
    return "\n".join(line for line in lines if line)
