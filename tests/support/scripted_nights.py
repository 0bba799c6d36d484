"""A sweep that leaves behind what a real one does, without training: for the logic of the nights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dpo_core.storage.json_content import decode_json
from sweeps.config.load import parse_sweep, resolved
from sweeps.config.schema import SweepConfig
from sweeps.config.strict_yaml import dump_yaml
from sweeps.run_dir import ledger
from sweeps.run_dir.ledger import EvaluationRecord, TrialRecord
from sweeps.run_dir.paths import SweepPaths
from sweeps.run_dir.prepared import Prepared
from sweeps.selection.leaderboard import trial_rows
from sweeps.sweep import NoWinner
from tests.support.exported_models import write_best
from tests.support.records import REWARD, evaluation
from tests.support.selections import a_selection, candidate

SWEEP = """\
name: hh
model: {path: models/tiny}
data: {path: pairs.jsonl}
space: {beta: {log_uniform: [0.01, 1.0]}, learning_rate: 1e-5}
training: {max_steps: 4}
search: {trials: 4}
"""


def night_config(storage: Path | str, *overrides: str) -> SweepConfig:
    return parse_sweep(SWEEP, source="nightly.yaml", overrides=[f"storage={storage}", *overrides])


@dataclass
class Scripted:
    """`run` of a night. Trial n ends as `statuses[n]`, with points of its own after the control."""

    verdict: str = "better"
    statuses: tuple[str, ...] = ("finished", "failed", "stopped", "finished")
    weights: str = "w1"
    interrupt: Callable[[], None] | None = None
    """Called when half of the trials have ended."""
    ran: list[SweepConfig] = field(default_factory=list)

    def __call__(self, config: SweepConfig, paths: SweepPaths) -> dict[str, Any]:
        self.ran.append(config)
        _prepare(config, paths, self.weights)
        for number, status in enumerate(self.statuses):
            if number == 2 and self.interrupt is not None:
                self.interrupt()
            self._end(paths, number, status)
        return self._select(config, paths)

    def _end(self, paths: SweepPaths, number: int, status: str) -> None:
        name = paths.trial_name(number)
        if any(r.trial == name for r in ledger.read(paths.store, paths.ledger)):
            return
        drawn = {"trial": name, "point": {"beta": 0.1 + number / 100, "learning_rate": 1e-5}}
        if paths.store.exists(paths.point(name)):  # drawn before, by us or by the night
            drawn = decode_json(paths.store.read(paths.point(name)))
        paths.store.write(paths.point(name), json.dumps(drawn).encode())
        record = TrialRecord(
            name,
            drawn["point"],
            status,
            seed=0,
            evaluations=() if status == "failed" else (_evaluation(11 + number),),
            reason="nan" if status == "failed" else None,
            seconds=1800.0,
        )
        ledger.append(paths.store, paths.ledger, record)

    def _select(self, config: SweepConfig, paths: SweepPaths) -> dict[str, Any]:
        records = ledger.read(paths.store, paths.ledger)
        finished = [r for r in records if r.evaluations]
        told = a_selection(sweep=paths.sweep_id, folder=paths.store.uri)
        told["trials"] = trial_rows(records, REWARD)
        against = "incumbent" if config.selection.incumbent else "reference"
        told["verdict"] |= {"word": self.verdict, "against": against, "sentence": "So it is."}
        if self.verdict == "no admissible candidate":
            told |= {"winner": None, "candidates": told["candidates"] if finished else []}
            del told["select"], told["final"], told["reference"]
        else:
            best = finished[-1]
            told["winner"] |= {
                "trial": best.trial,
                "point": dict(best.point),
                "path": f"{paths.store.uri}/{paths.best}",
            }
            told["candidates"] = [candidate(best.trial, told["winner"]["step"])]
            write_best(paths, best.trial, told["winner"]["step"])
        paths.store.write(paths.selection, json.dumps(told).encode())
        if not finished:
            raise NoWinner("none of 4 trials was ever evaluated")
        return told


def _evaluation(correct: int) -> EvaluationRecord:
    return replace(evaluation(4, correct), health={"drift_chosen": -0.1, "drift_rejected": -0.2})


def _prepare(config: SweepConfig, paths: SweepPaths, weights: str) -> None:
    tree = resolved(config, paths.storage.uri)
    paths.store.write(paths.config, f"{dump_yaml(tree)}...\n".encode())
    prepared = Prepared("d1", weights, "t1", {}, {}, {})
    paths.store.write(paths.prepared, json.dumps(asdict(prepared)).encode())
