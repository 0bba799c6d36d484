"""The best points of a search, trained again with new seeds: pure functions of the ledger.

The best of many noisy scores flatters its point; the mean over new seeds, which chose nothing,
does not. Every point is given the same new seeds, so that points are compared under equal luck.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.records.ledger import EvaluationRecord, TrialRecord
from sweeps.records.selection import Candidate, ranked


@dataclass(frozen=True)
class Confirmation:
    """A candidate of the search, and what the trials with new seeds had at the same step."""

    found: Candidate
    again: tuple[TrialRecord, ...]
    """Those that were evaluated at that step, by name."""
    missing: tuple[TrialRecord, ...]
    """Those that ended before it."""

    def accuracies(self, objective: str) -> list[float]:
        return [e.accuracy(objective) for e in self.evaluations]

    def mean(self, objective: str) -> float | None:
        """Over the new seeds; None when none of their trials got to the step."""
        accuracies = self.accuracies(objective)
        return statistics.fmean(accuracies) if accuracies else None

    @property
    def evaluations(self) -> list[EvaluationRecord]:
        return [_at(record, self.found.step) for record in self.again]

    def candidates(self) -> list[Candidate]:
        """The checkpoint of every seed of this point, that of the search first."""
        found = self.found
        again = zip(self.again, self.evaluations, strict=True)
        return [found, *(Candidate(r.trial, e.step, r.point, e) for r, e in again)]

    def row(self, objective: str) -> dict[str, Any]:
        """As selection.json tells it. Accuracies and their differences in [-1, 1]."""
        accuracies, mean = self.accuracies(objective), self.mean(objective)
        score = self.found.evaluation.accuracy(objective)
        return {
            "trial": self.found.trial,
            "step": self.found.step,
            "point": dict(self.found.point),
            "trials": [record.trial for record in self.again],
            "seeds": [record.seed for record in self.again],
            "accuracies": accuracies,
            "mean": mean,
            "spread": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
            "search_score": score,
            "shrinkage": None if mean is None else score - mean,
            "missing": [
                {"trial": r.trial, "reason": r.reason, "detail": r.detail} for r in self.missing
            ],
        }


def new_seeds(sweep_seed: int, count: int) -> list[int]:
    """Derived from the sweep's own seed, never equal to it, and in the range of every library."""
    drawn: list[int] = []
    number = 0
    while len(drawn) < count:
        digest = hashlib.sha256(f"{sweep_seed}:confirm:{number}".encode()).digest()
        seed, number = int.from_bytes(digest[:4], "big") % 2**31, number + 1
        if seed != sweep_seed and seed not in drawn:
            drawn.append(seed)
    return drawn


def finalists(order: Iterable[Candidate], top: int) -> list[Candidate]:
    """The best checkpoint of each of the `top` best points; `order` has the best one first."""
    best: dict[str, Candidate] = {}
    for candidate in order:
        best.setdefault(json.dumps(candidate.point, sort_keys=True), candidate)
    return list(best.values())[:top]


def confirmed(
    found: Iterable[Candidate], records: Iterable[TrialRecord], objective: str
) -> list[Confirmation]:
    """What is known of each of `found` by now, the best mean first, the unconfirmed ones last.

    Equal means are told apart as `ranked` does.
    """
    again = sorted((r for r in records if r.confirms), key=lambda record: record.trial)
    seen = [_confirmation(candidate, again) for candidate in ranked(found, objective)]

    def merit(each: Confirmation) -> float:
        mean = each.mean(objective)
        return -math.inf if mean is None else mean

    return sorted(seen, key=merit, reverse=True)


def to_export(point: Confirmation, objective: str) -> Candidate:
    """Of a point's seeds the checkpoint with the best accuracy at that step.

    The search's own competes: all seeds were scored on the same pairs, so that what they differ by
    is the models' own, whatever led to the point.
    """
    return ranked(point.candidates(), objective)[0]


def _confirmation(found: Candidate, again: Sequence[TrialRecord]) -> Confirmation:
    mine = [record for record in again if record.confirms == found.trial]
    there = tuple(r for r in mine if any(e.step == found.step for e in r.evaluations))
    return Confirmation(found, there, tuple(r for r in mine if r not in there))


def _at(record: TrialRecord, step: int) -> EvaluationRecord:
    return next(e for e in record.evaluations if e.step == step)
