"""More trials of a tiny model: the time a trial adds must not grow with their number."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from dpo_core.store import Store
from sweeps.config import parse_sweep
from sweeps.paths import SweepPaths
from sweeps.sweep import run_sweep
from sweeps.tuning.runner import _Book
from sweeps.tuning.search import SweepSearch
from tests.bench_probe import say, wait_for_free_cpus, watched
from tests.bench_table import Row

SIZES = (4, 16, 64)
_BOOK = (
    "__init__",
    "on_trial_start",
    "on_trial_result",
    "on_trial_complete",
    "on_trial_error",
    "close_orphans",
)
_SEARCH = ("__init__", "suggest", "on_trial_result", "on_trial_complete")


def scale(scratch: Path, steps: int, threads: int) -> dict[str, Any]:
    """Makespan in seconds by number of trials, and what of it went into ledger and searcher."""
    from tests.toys import save_toy_model, write_toy_pairs

    model = save_toy_model(scratch / "toy")
    pairs = write_toy_pairs(scratch / "pairs.jsonl")
    return {str(size): _sweep(model, pairs, scratch, size, steps, threads) for size in SIZES}


def slope_ratio(makespans: dict[int, float]) -> float:
    """Seconds a trial adds between 16 and 64 of them, over those between 4 and 16."""
    few, some, many = (makespans[size] for size in SIZES)
    return ((many - some) / (SIZES[2] - SIZES[1])) / ((some - few) / (SIZES[1] - SIZES[0]))


def rows(raw: dict[str, Any]) -> list[Row]:
    makespans = {size: raw[str(size)]["makespan_s"] for size in SIZES}
    largest = raw[str(SIZES[-1])]
    own = (largest["book_s"] + largest["search_s"]) / largest["makespan_s"]
    return [
        *(Row(f"scale: makespan of {size} trials", s, None, "s") for size, s in makespans.items()),
        Row("scale: slope ratio", slope_ratio(makespans), None, "", "<=", 1.05, "ours"),
        Row("scale: ledger and searcher", 100 * own, None, "%", "<", 2, "ours"),
    ]


def _sweep(
    model: Path, pairs: Path, scratch: Path, trials: int, steps: int, threads: int
) -> dict[str, Any]:
    # A storage of its own: each size pays for one reference pass.
    storage, sweep_id = scratch / f"scale-{trials}", "scale"
    text = f"""
        name: scale
        storage: {storage}
        model: {{path: {model}}}
        data: {{path: {pairs}, max_tokens: 128}}
        space: demo
        training: {{max_steps: {steps}, batch_pairs: 4, evaluations: {min(2, steps)}}}
        search: {{trials: {trials}}}
        resources: {{lanes: true, cpus_per_worker: {threads}}}
    """
    wait_for_free_cpus()
    say(f"scale: {trials} trials")
    paths = SweepPaths(Store.open(storage), sweep_id)
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        book = stack.enter_context(watched(_Book, *_BOOK))
        search = stack.enter_context(watched(SweepSearch, *_SEARCH))
        run_sweep(parse_sweep(text, source="bench"), paths, lambda _: None, lambda _: None)
    makespan = time.monotonic() - started
    say(f"scale: {makespan:.1f} s")
    return {
        "makespan_s": makespan,
        "book_s": book.seconds,
        "book_calls": book.calls,
        "search_s": search.seconds,
        "search_calls": search.calls,
    }
