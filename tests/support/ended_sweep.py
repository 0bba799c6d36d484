"""The run directory of a small sweep that ended, written without Ray or a model."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import yaml

from dpo_core.encoding.token_table import EncodedPair, TokenTable
from dpo_core.evaluation.outcomes import OBJECTIVES, Outcomes, write_outcomes
from dpo_core.storage.store import Store
from sweeps.finalize.final_split import Opening, open_final
from sweeps.run_dir import ledger
from sweeps.run_dir.final_register import AskedOpening
from sweeps.run_dir.ledger import EvaluationRecord, TrialRecord
from sweeps.run_dir.paths import SweepPaths
from sweeps.run_dir.prepared import Prepared
from sweeps.selection.verdict import REFERENCE

REWARD, TOKEN, _ = OBJECTIVES
POINT = {"beta": 0.1, "learning_rate": 1e-5}
PREPARED = Prepared("d" * 64, "e" * 64, "f" * 64, {}, {}, {})
PAIRS = 60
# trial: pairs right on select, drift in nats per token; the most accurate first
TRIALS = {"t0000": (55, 1.5), "t0001": (45, 0.4), "t0002": (33, 0.1)}


def scored_pairs(right: int, drift: float, seed: int) -> Outcomes:
    """Return outcomes with `right` of 60 pairs right, at random.

    Chosen answers of 10 tokens moved by `drift` nats per token.
    """
    order = np.random.default_rng(seed).permutation(PAIRS)
    margin = np.where(order < right, 1.0, -1.0)
    chosen = np.full(PAIRS, 10.0 * drift)
    zero, tokens = np.zeros(PAIRS), np.full(PAIRS, 10)
    ids = tuple(f"p{i:02d}" for i in range(PAIRS))
    return Outcomes(ids, chosen, chosen - margin, zero, zero, tokens, tokens + order % 2)


def write_ended_sweep(folder: Path) -> SweepPaths:
    """Write three trials of one evaluation each, at step 8.

    t0001 won, because the drift of t0000 is over the limit. Final was opened for t0001.
    """
    paths = SweepPaths(Store.open(folder), "old")
    tree = {
        "name": "toy",
        "model": {"path": "anywhere"},
        "data": {"path": "anywhere.jsonl"},
        "space": "lora",
        "training": {"max_steps": 8},
        "search": {"trials": 3},
    }
    paths.store.write(paths.config, f"{yaml.safe_dump(tree)}...\n".encode())
    for split in ("select", "final"):
        ids = [f"p{i:02d}" for i in range(PAIRS)]
        rows = [{"id": id, "group": f"g{i // 2}", "prompt": "?"} for i, id in enumerate(ids)]
        write_split(paths, split, rows)
    paths.store.write(paths.prepared, json.dumps(asdict(PREPARED)).encode())
    for seed, (trial, (right, drift)) in enumerate(TRIALS.items()):
        scored = scored_pairs(right, drift, seed)
        paths.store.write(paths.outcome(trial, 8), write_outcomes(scored, {"step": 8}))
        ledger.append(paths.store, paths.ledger, record_of(trial, scored, drift))
    final = write_outcomes(scored_pairs(45, 0.4, 9), {"step": 8})
    paths.store.write(paths.final_outcome("t0001", 8), final)
    open_final_of(paths, f"t0001 at step 8 by {REWARD}", "2026-01-01")
    return paths


def write_split(paths: SweepPaths, split: str, rows: Sequence[dict[str, str]]) -> None:
    """Write a split as rows and as tokens."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    paths.store.write(paths.split(split), lines.encode())
    encoded = (EncodedPair(row["id"], (1, i // 2), (2,), (3,)) for i, row in enumerate(rows))
    with paths.store.writing(paths.encoded(split)) as file:
        TokenTable.write(encoded, file)


def open_final_of(
    paths: SweepPaths,
    why: str,
    when: str,
    *,
    against: str = REFERENCE,
    declared: int = 1,
    questions: Collection[str] = ("q",),
    force: bool = False,
) -> Opening:
    """Record an opening of a sweep's final split."""
    asked = AskedOpening(paths.sweep_id, None, why, against, "sha", when)
    return open_final(paths, asked, lambda: set(questions), declared, force=force)


def record_of(trial: str, outcomes: Outcomes, drift: float) -> TrialRecord:
    """Return the record of a trial with one evaluation, at step 8."""
    counts = {
        name: {"correct": c.correct, "ties": c.ties, "total": c.total}
        for name, c in outcomes.counts().items()
    }
    health = {"drift_chosen": drift, "drift_rejected": 0.0}
    evaluation = EvaluationRecord(8, 0.5, counts, {}, health)
    return TrialRecord(trial, POINT, "finished", 0, (evaluation,), loss_beta=0.1)
