"""Many trials of a scripted objective through Tune, runner, searcher and ledger, while actors die.

    python -m tests.bench.soak [trials]           # 200: memory of the driver, seconds, deaths
    python -m tests.bench.soak [trials] --brief   # no deaths, one report a trial: memory alone

The trials store outcomes and checkpoints as a worker does; only the training is scripted. Of each
eight, the actor of one is killed in the middle, of one at its end, and of one while Tune prepares it
for the next trial. None may be lost, repeated or recorded as failed.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

STEPS = (2, 4, 6)
IN_THE_MIDDLE, AT_ITS_END, AFTER_ITS_END = 3, 5, 6
"""The numbers, modulo 8, of the trials whose actor dies, each once."""
MOST_GROWTH, MOST_A_TRIAL = 32 * 2**20, 0.15 * 2**20
"""How many bytes the driver may grow by: over 200 trials, and for each trial beyond them."""


@dataclass(frozen=True)
class Soaked:
    """What a soak showed. Memory of the driver in bytes, after each trial."""

    records: list[Any]
    kills: int
    memory: list[int]
    seconds: float

    @property
    def growth(self) -> int:
        """Median of the last tenth over that of the second tenth; the first warms up."""
        tenth = max(1, len(self.memory) // 10)
        early, late = self.memory[tenth : 2 * tenth], self.memory[-tenth:]
        return int(np.median(late) - np.median(early))

    def slope(self, since: float, until: float) -> float:
        """Bytes a trial, by least squares, between two shares of the trials."""
        first, last = int(since * len(self.memory)), int(until * len(self.memory))
        return float(np.polyfit(range(last - first), self.memory[first:last], 1)[0])


def soak(
    model: Path, pairs: Path, storage: Path, trials: int, run_one: Callable[[Any, Any], None]
) -> Soaked:
    """Run a sweep of that many trials. Needs a connected Ray of two CPUs."""
    from dpo_core.storage.store import Store
    from sweeps.config.load import parse_sweep
    from sweeps.config.strict_yaml import dump_yaml
    from sweeps.prepare.data import read_data, reading_report, split_data
    from sweeps.prepare.pipeline import prepare
    from sweeps.run_dir.paths import SweepPaths
    from sweeps.trials.runner import run_trials

    tree = {
        "name": "soak",
        "storage": str(storage),
        "model": {"path": str(model), "adapter": {"rank": 4}},
        "data": {"path": str(pairs), "max_tokens": 256, "min_similarity": 1.0},
        "space": {
            "beta": {"log_uniform": [0.05, 0.5]},
            "learning_rate": {"log_uniform": [1e-6, 1e-4]},
            "length_norm": "none",
        },
        "training": {"max_steps": STEPS[-1], "batch_pairs": 4, "evaluations": len(STEPS)},
        "search": {"sampler": "tpe", "trials": trials, "concurrent": 2},
    }
    config = parse_sweep(dump_yaml(tree), source="soak.yaml")
    paths = SweepPaths(Store.open(storage), "soak")
    data = read_data(config)
    splits = split_data(config, data)
    said = reading_report(data, splits)
    prepared = prepare(config, paths, splits, said, lambda f, *a: f(*a))
    memory: list[int] = []
    me, since = psutil.Process(), time.monotonic()

    def on_event(event: Any) -> None:
        if event.kind in ("finished", "failed"):
            memory.append(me.memory_info().rss)

    records = run_trials(config, paths, prepared, on_event, None, run_one)
    kills = len(paths.store.names("killed"))
    return Soaked(records, kills, memory, time.monotonic() - since)


def scripted(drawn: Any, setup: Any) -> None:
    """A trial that learns by decree: it is the better the nearer β is to 0.1."""
    from ray import tune

    from sweeps.ray_runtime.lane_messages import TrialJob
    from sweeps.trials.resume_checkpoint import newest_checkpoint

    paths, trial = setup.sweep.paths, drawn.trial
    number = int(trial[1:])
    with newest_checkpoint(paths, TrialJob(setup.sweep, **drawn.as_dict())) as folder:
        done = 0 if folder is None else int(folder.name.removeprefix("step-"))
    for step in (s for s in STEPS if s > done):
        _store(paths, drawn.as_dict(), step)
        tune.report(_report(trial, step))
        if number % 8 == IN_THE_MIDDLE and step == STEPS[number % 2]:
            _die_once(paths, trial)
    if number % 8 == AT_ITS_END:
        _die_once(paths, trial)
    if number % 8 == AFTER_ITS_END:  # while Tune prepares the same actor for the next trial
        threading.Thread(
            target=_die_once, args=(paths, trial, 0.01 * (number % 3)), daemon=True
        ).start()


def brief(drawn: Any, setup: Any) -> None:
    """A trial that stores its last evaluation, reports it and ends."""
    from ray import tune

    _store(setup.sweep.paths, drawn.as_dict(), STEPS[-1])
    tune.report(_report(drawn.trial, STEPS[-1]))


def _report(trial: str, step: int) -> dict[str, Any]:
    numbers = {"accuracy": 0.5, "best_accuracy": 0.5, "violations": {"accuracy": 0.0}}
    return {"trial": trial, "global_step": step, **numbers}


def _die_once(paths: Any, trial: str, delay_s: float = 0.0) -> None:
    if not paths.store.exists(f"killed/{trial}"):
        paths.store.write(f"killed/{trial}", b"")
        time.sleep(delay_s)
        os.kill(os.getpid(), signal.SIGKILL)


def _store(paths: Any, drawn: dict[str, Any], step: int) -> None:
    from dpo_core.evaluation.outcomes import Outcomes, write_outcomes
    from dpo_core.training.checkpoints import write_manifest
    from sweeps.run_dir.prepared import read_encoded

    with paths.store.scratch() as scratch:
        folder = scratch / "checkpoint"
        folder.mkdir()
        (folder / "weights").write_bytes(bytes(1000))
        write_manifest(folder, {**drawn, "step": step})
        paths.store.upload(folder, paths.checkpoint(drawn["trial"], step), last="manifest.json")
    pairs = read_encoded(paths, "select")
    rng = np.random.default_rng(step)
    better = step * (1 - abs(np.log(drawn["point"]["beta"] / 0.1)))
    columns = [-rng.random(len(pairs)) * 10 + shift for shift in (better, 0, 0, 0)]
    lengths = [np.array([len(getattr(p, side)) for p in pairs]) for side in ("chosen", "rejected")]
    outcomes = Outcomes(tuple(p.id for p in pairs), *columns, *lengths)
    metadata = {"trial": drawn["trial"], "step": step, "loss": 0.5, "split": "select"}
    paths.store.write(paths.outcome(drawn["trial"], step), write_outcomes(outcomes, metadata))


def check(soaked: Soaked, trials: int, most_growth: int, *, is_brief: bool) -> None:
    """Every trial once and whole, every kill survived, the driver no larger than before."""
    steps = list(STEPS[-1:] if is_brief else STEPS)
    dying = set() if is_brief else {IN_THE_MIDDLE, AT_ITS_END, AFTER_ITS_END}
    assert Counter(r.trial for r in soaked.records) == {f"t{n:04d}": 1 for n in range(trials)}
    assert {r.status for r in soaked.records} == {"finished"}
    assert all([e.step for e in r.evaluations] == steps for r in soaked.records)
    assert soaked.kills == len([n for n in range(trials) if n % 8 in dying])
    assert soaked.growth < most_growth, f"the driver grew by {soaked.growth / 2**20:.1f} MiB"


def main() -> None:
    from sweeps.ray_runtime.connect import connected
    from tests.support.toys import save_toy_model, write_toy_pairs

    parser = argparse.ArgumentParser()
    parser.add_argument("trials", type=int, nargs="?", default=200)
    parser.add_argument("--brief", action="store_true", help="no deaths, one report a trial")
    options = parser.parse_args()
    trials, run_one = options.trials, brief if options.brief else scripted
    with tempfile.TemporaryDirectory() as folder, connected():
        root = Path(folder)
        model, pairs = save_toy_model(root / "model"), write_toy_pairs(root / "pairs.jsonl")
        soaked = soak(model, pairs, root / "runs", trials, run_one)
    halves = [soaked.slope(*part) / 2**20 for part in ((0.1, 0.55), (0.55, 1.0))]
    print(
        f"{trials} trials, {soaked.kills} of them killed once, in {soaked.seconds:.0f} s; the driver "
        f"has {soaked.memory[-1] / 2**20:.0f} MiB, {soaked.growth / 2**20:+.1f} MiB since the "
        f"{2 * trials // 10}th trial; a trial adds {halves[0]:.3f} MiB, later {halves[1]:.3f}"
    )
    most = int(MOST_GROWTH + MOST_A_TRIAL * max(0, trials - 200))
    check(soaked, trials, most_growth=most, is_brief=options.brief)


if __name__ == "__main__":
    main()
