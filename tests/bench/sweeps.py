"""The same sweep by both sides: ours, half of the recipe, ours again, the other half."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dpo_core.settings import LoraSettings
from dpo_core.storage.store import Store
from dpo_core.training.batch_order import batch_order
from sweeps.config.load import parse_sweep
from sweeps.config.schema import SweepConfig
from sweeps.run_dir import ledger
from sweeps.run_dir.paths import SweepPaths
from sweeps.sweep import run_sweep
from tests.bench.pairs import FRACTION
from tests.bench.probe import PeakMemory, say, wait_for_free_cpus
from tests.bench.recipe import run_recipe
from tests.bench.table import Row
from tests.support.toys import LENIENT

BATCH_PAIRS = 4
EVALUATIONS = 2
MAX_TOKENS = 1024
_LOSSES = {"none": "sigmoid", "mean": "sigmoid_norm"}


@dataclass(frozen=True)
class Task:
    """One model and how often it is trained."""

    name: str
    model: Path
    lora: bool
    learning_rates: tuple[float, float]
    pairs: Path
    seed: int
    trials: int
    steps: int
    threads: int

    @property
    def evaluations(self) -> int:
        return min(EVALUATIONS, self.steps)


def compare(task: Task, scratch: Path) -> dict[str, Any]:
    """Raw numbers of the four runs; times in seconds, memory in MiB."""
    storage, half = scratch / "ours", task.trials // 2
    # By turns, so that a machine that slows down or speeds up does so for both sides.
    first = run_ours(task, f"{task.name}-1", storage)
    splits = storage / f"{task.name}-1"
    points = [_recipe_point(record) for record in first["records"]]
    recipe = [_run_recipe(task, points[:half], splits, scratch / "recipe")]
    second = run_ours(task, f"{task.name}-2", storage)
    recipe.append(_run_recipe(task, points[half:], splits, scratch / "recipe"))
    return {"first": first, "second": second, "recipe": _joined(recipe)}


def run_ours(task: Task, sweep_id: str, storage: Path) -> dict[str, Any]:
    """One whole sweep: preparation, trials, export of the winner and its final score."""
    wait_for_free_cpus()
    say(f"{sweep_id}: our sweep of {task.trials} trials")
    paths = SweepPaths(Store.open(storage), sweep_id)
    events: list[dict[str, Any]] = []

    def on_event(event: Any) -> None:
        metrics = {k: v for k, v in event.metrics.items() if isinstance(v, int | float)}
        about = {"kind": event.kind, "trial": event.trial, "at": time.monotonic()}
        events.append({**about, "metrics": metrics})

    started = time.monotonic()
    with PeakMemory() as memory:
        selection = run_sweep(_config(task, storage), paths, on_event)
    ended = time.monotonic()
    makespan = ended - started
    records = ledger.read(paths.store, paths.ledger)
    say(f"{sweep_id}: {makespan:.1f} s")
    return {
        "makespan_s": makespan,
        # Preparation and reference; trials with the start of their lane; export and final score.
        "before_s": events[0]["at"] - started,
        "trials_s": events[-1]["at"] - events[0]["at"],
        "after_s": ended - events[-1]["at"],
        "startup_s": startups(events),
        "peak_mib": memory.mebibytes,
        "peak_process": memory.process,
        "accuracies": [r.evaluations[-1].accuracy("reward_accuracy") for r in records],
        "best": selection["select"],
        "prepared": json.loads(paths.store.read(paths.prepared)),
        "records": [asdict(record) for record in records],
        "events": events,
    }


def startups(events: Sequence[dict[str, Any]]) -> list[float]:
    """Seconds from the start of a trial to its training loop, by trial, in order.

    The worker reports how long its loop had run; what the driver waited beyond that is start-up.
    """
    started = {e["trial"]: e["at"] for e in events if e["kind"] == "started"}
    found: dict[str, float] = {}
    for event in events:
        name = event["trial"]
        if event["kind"] == "evaluated" and name not in found:
            found[name] = event["at"] - started[name] - event["metrics"]["seconds"]
    return list(found.values())


def reference_passes(run: dict[str, Any]) -> float:
    """Reference passes a pair: of the pairs that the sweep found computed, none."""
    reports, computed = run["prepared"]["reports"], run["prepared"]["reference_computed"]
    pairs = {split: report["pairs"] for split, report in reports.items()}
    return float(sum(pairs[s] for s in pairs if computed[s]) / sum(pairs.values()))


def rows(name: str, raw: dict[str, Any], goal: float) -> list[Row]:
    first, second, recipe = raw["first"], raw["second"], raw["recipe"]
    cold, warm = _cold_and_warm([first["startup_s"], second["startup_s"]])
    before = statistics.median(recipe["startup_s"])
    mean = statistics.mean(first["accuracies"]), statistics.mean(recipe["accuracies"])
    peak = max(first["peak_mib"], second["peak_mib"])
    return [
        Row(f"{name}: makespan", first["makespan_s"], recipe["makespan_s"], "s", "<=", goal),
        Row(f"{name}: makespan, second sweep", second["makespan_s"], recipe["makespan_s"], "s"),
        Row(f"{name}: start-up of a lane's first trial", cold, before, "s"),
        Row(f"{name}: start-up of a later trial", warm, before, "s", "<=", 0.5, "ours"),
        Row(f"{name}: reference passes a pair", reference_passes(first), None, "", "==", 1, "ours"),
        Row(
            f"{name}: reference passes a pair, second sweep",
            reference_passes(second),
            None,
            "",
            "==",
            0,
            "ours",
        ),
        Row(f"{name}: accuracy at the end, mean of the trials", *mean),
        Row(f"{name}: best accuracy", max(first["accuracies"]), max(recipe["accuracies"])),
        Row(f"{name}: most memory of a worker", peak, recipe["peak_mib"], "MiB"),
    ]


def _cold_and_warm(sweeps: Sequence[Sequence[float]]) -> tuple[float, float | None]:
    later = [seconds for sweep in sweeps for seconds in sweep[1:]]
    cold = statistics.median(sweep[0] for sweep in sweeps)
    return cold, statistics.median(later) if later else None


def _config(task: Task, storage: Path) -> SweepConfig:
    tree = {
        "name": task.name,
        "seed": task.seed,
        "storage": str(storage),
        "model": {"path": str(task.model), **({} if task.lora else {"adapter": None})},
        "data": {
            "path": str(task.pairs),
            "max_tokens": MAX_TOKENS,
            "select_fraction": FRACTION,
            "final_fraction": FRACTION,
        },
        "space": {
            "beta": {"log_uniform": [0.05, 0.5]},
            "learning_rate": {"log_uniform": list(task.learning_rates)},
            "length_norm": {"choice": list(_LOSSES)},
        },
        "training": {
            "max_steps": task.steps,
            "batch_pairs": BATCH_PAIRS,
            "evaluations": task.evaluations,
        },
        "search": {"sampler": "tpe", "trials": task.trials, "concurrent": 1},
        # The recipe answers no prompts and takes the maximum whatever it drifted.
        "selection": {**LENIENT, "sample_prompts": 0},
        "resources": {"lanes": True, "cpus_per_worker": task.threads},
    }
    return parse_sweep(json.dumps(tree), source="bench")


def _recipe_point(record: dict[str, Any]) -> dict[str, Any]:
    """The ledger's point in TRL's terms: β as it enters the loss."""
    return {
        "learning_rate": record["point"]["learning_rate"],
        "beta": record["loss_beta"],
        "loss_type": _LOSSES[record["point"]["length_norm"]],
    }


def _run_recipe(
    task: Task, points: Sequence[dict[str, Any]], splits: Path, storage: Path
) -> dict[str, Any]:
    wait_for_free_cpus()
    say(f"{task.name}: {len(points)} trials of the recipe")
    started = time.monotonic()
    with PeakMemory() as memory:
        trials = (
            run_recipe(
                task.model,
                _in_training_order(task, splits / "splits" / "train.jsonl", storage),
                splits / "splits" / "select.jsonl",
                points,
                task.steps,
                BATCH_PAIRS,
                task.evaluations,
                storage,
                _peft_arguments() if task.lora else None,
                seed=task.seed,
                cpus=task.threads,
                max_tokens=MAX_TOKENS,
            )
            if points
            else []
        )
    makespan = time.monotonic() - started if points else 0.0
    say(f"{task.name}: {makespan:.1f} s")
    return {"makespan_s": makespan, "peak_mib": memory.mebibytes, "trials": trials}


def _in_training_order(task: Task, file: Path, folder: Path) -> Path:
    """The training pairs in the order in which our trials take them, for a recipe that does not
    shuffle: the accuracies of both sides are then those of the same training."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    order = batch_order(len(lines), steps=task.steps, batch_pairs=BATCH_PAIRS, seed=task.seed)
    folder.mkdir(parents=True, exist_ok=True)
    ordered = folder / "train.jsonl"
    ordered.write_text("".join(lines[i] for i in order.ravel()), encoding="utf-8")
    return ordered


def _peft_arguments() -> dict[str, Any]:
    """The adapter of the sweep's defaults, in PEFT's terms."""
    lora = LoraSettings()
    return {
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "target_modules": lora.targets,
        "task_type": "CAUSAL_LM",
    }


def _joined(halves: Sequence[dict[str, Any]]) -> dict[str, Any]:
    trials = [trial for half in halves for trial in half["trials"]]
    return {
        "makespan_s": sum(half["makespan_s"] for half in halves),
        "peak_mib": max(half["peak_mib"] for half in halves),
        "startup_s": [trial["startup_s"] for trial in trials],
        "accuracies": [trial["accuracy"] for trial in trials],
        "trials": trials,
    }
