"""Confirmation: the best points of a search are trained again with new seeds. Pure functions.

The best of many noisy scores is too high for its point. The mean over new seeds is not, because no
choice was made by it. Every point is trained with the same new seeds, so that points are compared
under equal luck. A seed that guardrails exclude takes itself out of the mean; when they exclude most
seeds of a point, the point is out. Every other seed counts as what it is: a mean without those that
are right in no more than half of the pairs would be too high again. A point can win when its seeds
are eligible on average, and the exported checkpoint is the best of those that can win alone.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dpo_core.evaluation.outcomes import Floats
from sweeps.run_dir.json_types import ConfirmationJson
from sweeps.run_dir.ledger import TrialRecord, searched
from sweeps.run_dir.paths import CheckpointKey
from sweeps.selection.ordering import best_of
from sweeps.selection.rule import Candidate, choose
from sweeps.selection.statistics import Groups


@dataclass(frozen=True, eq=False)
class Confirmation:
    """A point of the search with its candidates from new seeds, all at the same step."""

    original: Candidate
    """The candidate of the search."""
    repeats: tuple[Candidate, ...]
    """One candidate for each new seed."""
    missing: tuple[TrialRecord, ...]
    """Trials with new seeds that failed, or ended before the step."""

    @property
    def counted(self) -> list[Candidate]:
        """Return the candidates of new seeds that guardrails admit, however accurate they are."""
        return [candidate for candidate in self.repeats if candidate.admissible]

    @property
    def best(self) -> Candidate | None:
        """Return the best of the new seeds that can win: the checkpoint to export."""
        return best_of(candidate for candidate in self.repeats if candidate.can_win)

    @property
    def averaged(self) -> Candidate | None:
        """Return the point as a candidate with the means over the new seeds that guardrails admit.

        Its violations are means too, so that it can win when its seeds are eligible on average. The
        checkpoint is the best seed that can win. That of the search is not among them: its score is
        why the point is here. None for a point without a mean, or without a seed that can win.
        """
        best = self.best
        if best is None or self.mean is None:
            return None
        counted = self.counted
        return replace(
            best,
            scores=_mean_scores(counted),
            chosen_gain=statistics.fmean(c.chosen_gain for c in counted),
            drift=statistics.fmean(c.drift for c in counted),
            violations={
                name: statistics.fmean(c.violations.get(name, 0.0) for c in counted)
                for name in best.violations
            },
        )

    @property
    def mean(self) -> float | None:
        """Return the mean accuracy over the new seeds that guardrails admit, in [0, 1].

        None when guardrails exclude more than half of the seeds that got to the step, or none did.
        """
        counted = self.counted
        if not counted or 2 * len(counted) < len(self.repeats):
            return None
        return float(_mean_scores(counted).mean())

    def row(self) -> ConfirmationJson:
        """Return the confirmation as selection.json holds it.

        Accuracies are in [0, 1], their differences in [-1, 1].
        """
        counted, mean = [c.accuracy for c in self.counted], self.mean
        return {
            "trial": self.original.trial,
            "step": self.original.step,
            "point": dict(self.original.point),
            "trials": [c.trial for c in self.repeats],
            "seeds": [c.seed for c in self.repeats],
            "accuracies": [c.accuracy for c in self.repeats],
            "counted": [c.admissible for c in self.repeats],
            "mean": mean,
            "spread": None if mean is None or len(counted) < 2 else statistics.stdev(counted),
            "search_score": self.original.accuracy,
            "shrinkage": None if mean is None else self.original.accuracy - mean,
            "missing": [
                {"trial": r.trial, "reason": r.reason, "detail": r.detail} for r in self.missing
            ],
        }


def _mean_scores(candidates: Sequence[Candidate]) -> Floats:
    scores: Floats = np.mean([c.scores for c in candidates], axis=0)
    return scores


def new_seeds(sweep_seed: int, count: int) -> list[int]:
    """Derive distinct seeds from the sweep's own one, none of them equal to it, in [0, 2³¹)."""
    seeds: list[int] = []
    number = 0
    while len(seeds) < count:
        digest = hashlib.sha256(f"{sweep_seed}:confirm:{number}".encode()).digest()
        seed, number = int.from_bytes(digest[:4], "big") % 2**31, number + 1
        if seed != sweep_seed and seed not in seeds:
            seeds.append(seed)
    return seeds


def finalists(candidates: Iterable[Candidate], groups: Groups, top: int) -> list[Candidate]:
    """Choose the candidates whose points are to be trained again.

    Args:
        candidates: All candidates of the search.
        groups: Prompt groups of the select split.
        top: How many points at most.

    Returns:
        What the sweep would choose, then what it would choose without that point, and so on.
    """
    rest, winners = list(candidates), list[Candidate]()
    while len(winners) < top and (winner := choose(rest, groups).winner):
        winners.append(winner)
        rest = [c for c in rest if c.point != winner.point]
    return winners


def confirmed(
    finalists: Iterable[Candidate],
    candidates: Iterable[Candidate],
    records: Iterable[TrialRecord],
) -> list[Confirmation]:
    """Collect what is known by now of each finalist's point.

    Args:
        finalists: Candidates of the search whose points are trained again.
        candidates: Candidates of all trials, those with new seeds among them.
        records: Records of all trials.

    Returns:
        One confirmation for each finalist, the best mean first, those without a mean last.
    """
    repeats = sorted((r for r in records if r.confirms), key=lambda record: record.trial)
    by_checkpoint = {c.checkpoint: c for c in candidates}
    points = [_confirmation(original, repeats, by_checkpoint) for original in finalists]

    def mean(point: Confirmation) -> float:
        return -math.inf if point.mean is None else point.mean

    return sorted(points, key=mean, reverse=True)


def candidate_pools(
    points: Iterable[Confirmation],
    candidates: Iterable[Candidate],
    records: Iterable[TrialRecord],
) -> tuple[list[Candidate], list[Candidate]]:
    """Return the candidates among which the winner is chosen, in two pools.

    Args:
        points: Confirmations of the search's best points.
        candidates: Candidates of all trials.
        records: Records of all trials.

    Returns:
        The confirmed points on their means; then the candidates of the search, whose checkpoints are
        kept for the case that none of the first can win. A winner among those is unconfirmed.
    """
    averaged = [candidate for point in points if (candidate := point.averaged)]
    trials = {record.trial for record in searched(records)}
    return averaged, [candidate for candidate in candidates if candidate.trial in trials]


def _confirmation(
    original: Candidate,
    repeats: Iterable[TrialRecord],
    by_checkpoint: Mapping[CheckpointKey, Candidate],
) -> Confirmation:
    records = [record for record in repeats if record.confirms == original.trial]
    reached = [r for r in records if (r.trial, original.step) in by_checkpoint]
    missing = [r for r in records if (r.trial, original.step) not in by_checkpoint]
    candidates = tuple(by_checkpoint[r.trial, original.step] for r in reached)
    return Confirmation(original, candidates, tuple(missing))
