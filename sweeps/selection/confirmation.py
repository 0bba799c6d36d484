"""The best points of a search, trained again with new seeds: pure functions of what was scored.

The best of many noisy scores flatters its point; the mean over new seeds, which chose nothing,
does not. Every point is given the same new seeds, so that points are compared under equal luck.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sweeps.run_dir.ledger import TrialRecord, searched
from sweeps.selection.ordering import ranked
from sweeps.selection.rule import Candidate, choose
from sweeps.selection.statistics import Groups


@dataclass(frozen=True, eq=False)
class Confirmation:
    """A point of the search, and what its trials with new seeds were at the same step."""

    found: Candidate
    again: tuple[Candidate, ...]
    missing: tuple[TrialRecord, ...]
    """Trials with new seeds that ended before that step."""

    @property
    def mean(self) -> float | None:
        """Over the new seeds; None when none of their trials got to the step."""
        return statistics.fmean(c.accuracy for c in self.again) if self.again else None

    @property
    def averaged(self) -> Candidate | None:
        """The point as it stands for election: scores and drift are means over the new seeds; the
        checkpoint is the most accurate admissible one of theirs. The search's own is not among
        them: its score is what brought the point here.
        """
        if not self.again:
            return None
        best = ranked([c for c in self.again if c.admissible] or self.again)[0]
        scores = np.mean([c.scores for c in self.again], axis=0)
        return replace(best, scores=scores, drift=statistics.fmean(c.drift for c in self.again))

    def row(self) -> dict[str, Any]:
        """As selection.json tells it. Accuracies and their differences in [-1, 1]."""
        accuracies, mean = [c.accuracy for c in self.again], self.mean
        return {
            "trial": self.found.trial,
            "step": self.found.step,
            "point": dict(self.found.point),
            "trials": [c.trial for c in self.again],
            "seeds": [c.seed for c in self.again],
            "accuracies": accuracies,
            "mean": mean,
            "spread": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
            "search_score": self.found.accuracy,
            "shrinkage": None if mean is None else self.found.accuracy - mean,
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


def finalists(candidates: Iterable[Candidate], groups: Groups, top: int) -> list[Candidate]:
    """What the sweep would choose, then what it would without that point, and so on."""
    rest, taken = list(candidates), list[Candidate]()
    while len(taken) < top and (winner := choose(rest, groups).winner):
        taken.append(winner)
        rest = [c for c in rest if c.point != winner.point]
    return taken


def confirmed(
    found: Iterable[Candidate], candidates: Iterable[Candidate], records: Iterable[TrialRecord]
) -> list[Confirmation]:
    """What is known of each of `found` by now, the best mean first, the unconfirmed ones last.

    `candidates` and `records` hold those of the trials with new seeds among others.
    """
    again = sorted((r for r in records if r.confirms), key=lambda record: record.trial)
    places = {c.checkpoint: c for c in candidates}
    seen = [_confirmation(each, again, places) for each in found]

    def merit(point: Confirmation) -> float:
        return -math.inf if point.mean is None else point.mean

    return sorted(seen, key=merit, reverse=True)


def eligible_candidates(
    points: Iterable[Confirmation],
    candidates: Iterable[Candidate],
    records: Iterable[TrialRecord],
) -> list[Candidate]:
    """Who may be chosen: the points with new seeds, on their means; without any, what the search
    found, whose checkpoints are kept for that."""
    standing = [each for point in points if (each := point.averaged)]
    names = {record.trial for record in searched(records)}
    return standing or [each for each in candidates if each.trial in names]


def _confirmation(
    found: Candidate, again: Iterable[TrialRecord], places: Mapping[tuple[str, int], Candidate]
) -> Confirmation:
    mine = [record for record in again if record.confirms == found.trial]
    there = [places[r.trial, found.step] for r in mine if (r.trial, found.step) in places]
    missing = [r for r in mine if (r.trial, found.step) not in places]
    return Confirmation(found, tuple(there), tuple(missing))
