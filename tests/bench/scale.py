"""Many trials of a tiny model: the time a trial adds must not grow with their number."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from sweeps.search.searcher import SweepSearch
from sweeps.trials.ledger_callback import LedgerCallback
from tests.bench.probe import watched
from tests.bench.slope import SIZES, ends, slope_ratio
from tests.bench.sweeps import Task, run_ours
from tests.bench.table import Row

_LEDGER = (
    "__init__",
    "on_trial_start",
    "on_trial_result",
    "on_trial_complete",
    "on_trial_error",
    "close_lost",
    "publish",
)
_SEARCH = ("__init__", "suggest", "on_trial_result", "on_trial_complete")


def scale(task: Task, storage: Path) -> dict[str, Any]:
    """One sweep of SIZES[-1] trials: when each ended, and what ledger and searcher took of it.

    A sweep of fewer trials is the beginning of this one, start-up and machine included.
    """
    with contextlib.ExitStack() as stack:
        ledger = stack.enter_context(watched(LedgerCallback, *_LEDGER))
        search = stack.enter_context(watched(SweepSearch, *_SEARCH))
        sweep = run_ours(task, "scale", storage)
    return {
        "ended_s": ends(sweep["events"]),
        "makespan_s": sweep["makespan_s"],
        "ledger_s": ledger.seconds,
        "ledger_calls": ledger.calls,
        "search_s": search.seconds,
        "search_calls": search.calls,
    }


def rows(raw: dict[str, Any]) -> list[Row]:
    ended = raw["ended_s"]
    own = (raw["ledger_s"] + raw["search_s"]) / raw["makespan_s"]
    return [
        *(Row(f"scale: {n} trials", ended[n - 1], None, "s") for n in SIZES),
        Row("scale: slope ratio", slope_ratio(ended), None, "", "<=", 1.05, "ours"),
        Row("scale: ledger and searcher", 100 * own, None, "%", "<", 2, "ours"),
    ]
