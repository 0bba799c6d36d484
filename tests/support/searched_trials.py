"""Spaces and ended trials for tests of the search."""

from __future__ import annotations

from search_spaces import Space
from sweeps.run_dir.ledger import EvaluationRecord, TrialRecord

OBJECTIVE = "reward_accuracy"
FLAT = Space.parse(
    {
        "beta": {"log_uniform": [0.01, 0.5]},
        "learning_rate": {"log_uniform": [1e-6, 1e-4]},
        "ld_alpha": {"uniform": [0, 1]},
        "length_norm": {"choice": ["none", "mean"]},
    }
)
BRANCHED = Space.parse(
    {
        "beta": [
            {"log_uniform": [0.01, 0.5], "when": {"length_norm": "none"}},
            {"log_uniform": [1, 20], "when": {"length_norm": ["mean", "simpo"]}},
        ],
        "learning_rate": {"log_uniform": [1e-6, 1e-4]},
        "length_norm": {"choice": ["none", "mean", "simpo"]},
        "gamma_ratio": {"uniform": [0.1, 0.8], "when": {"length_norm": "simpo"}},
    }
)
POINT = {"beta": 0.1, "learning_rate": 1e-5, "ld_alpha": 0.25, "length_norm": "mean"}


def ended(trial: str, point: dict, *correct: int, status: str = "finished") -> TrialRecord:
    evaluations = tuple(
        EvaluationRecord(
            step=4 * (i + 1),
            loss=0.6,
            counts={OBJECTIVE: {"correct": c, "ties": 1, "total": 10}},
            slices={},
            health={"drift_chosen": -0.1 * (i + 1), "drift_rejected": 0.05},
        )
        for i, c in enumerate(correct)
    )
    return TrialRecord(trial, point, status, 0, evaluations)
