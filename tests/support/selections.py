"""A selection.json as a finished sweep writes it, and console output as plain text."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from sweeps.selection.leaderboard import trial_rows
from sweeps.selection.split_scores import reference_scores, split_scores
from tests.support.records import REWARD, evaluation, outcomes, trial


def a_selection(**changes) -> dict:
    """As selection.json holds it after three trials, of which the second won."""
    records = [trial("t0000", evaluation(4, 11)), trial("t0001", evaluation(8, 15)), FAILED]
    rows = trial_rows(records, REWARD)
    rows[0]["point"] = POINT
    splits = ("select", "final")
    return {
        "sweep": "hh-1",
        "folder": "/sweeps/hh-1",
        "base_model": "models/tiny",
        "objective": REWARD,
        "verdict": {
            "word": "better",
            "sentence": "t0001 at step 8 is better than the reference",
            "against": "reference",
            "difference": 0.2,
            "interval": [0.1, 0.3],
            "p_value": 0.01,
        },
        "winner": {
            "trial": "t0001",
            "point": POINT,
            "step": 8,
            "seed": 0,
            "path": "/sweeps/hh-1/best",
        },
        "incumbent": None,
        "confirmation": [],
        "guardrails": {
            "drift_chosen": {"limit": 0.5, "action": "warn"},
            "displaced": {"limit": 0.5, "action": "exclude"},
        },
        "candidates": [
            candidate("t0001", 8, drift_chosen=0.7),
            candidate("t0000", 4, displaced=0.9),
        ],
        **{split: split_scores(outcomes(), REWARD) for split in splits},
        "reference": {split: reference_scores(outcomes(), REWARD) for split in splits},
        "trials": rows,
        **changes,
    }


def candidate(trial: str, step: int, **broken: float) -> dict:
    """A row of `candidates`, whose guardrails in `broken` have those values, over a limit of ½."""
    rails = {n: {"value": v, "limit": 0.5, "passed": False} for n, v in broken.items()}
    rails.setdefault("displaced", {"value": 0.1, "limit": 0.5, "passed": True})
    return {"trial": trial, "step": step, "guardrails": rails, "shortlisted": False}


def text_of(*renderables: object) -> str:
    console = Console(file=StringIO(), width=140)
    console.print(*renderables)
    return console.file.getvalue()


POINT = {"beta": 0.123456, "learning_rate": 2.5e-6, "length_norm": "mean"}


FAILED = trial("t0002", status="failed", reason="nan", detail="[red]loss[/red] is nan at [/x]")
