"""How far a winner can be trusted: scripted sweeps without training, judged by the real choice.

A policy ranks a pair right when the pair's difficulty plus the policy's own luck stays below what
its true accuracy allows. Difficulty is shared by all policies, and in part by the pairs of a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from dpo_core.evaluation.outcomes import Count
from sweeps.selection.guardrails import Check
from sweeps.selection.rule import Candidate, choose
from sweeps.selection.statistics import Comparison, Groups, compare, design_effect, wilson_interval
from sweeps.selection.verdict import BETTER, verdict_word
from tests.bench.table import Row

REPETITIONS = 500
TRIALS = 30
SHARED, OF_PROMPT = 0.5, 0.3  # parts of the variance: difficulty, and of that what a prompt shares


@dataclass(frozen=True)
class Sweeps:
    """Many sweeps under one truth. Accuracies in [0, 1], one a sweep."""

    truth: np.ndarray  # of the winner
    baseline: float
    reported: np.ndarray  # of the winner on final
    naive: np.ndarray  # the highest on select
    naive_truth: np.ndarray
    comparisons: list[Comparison]
    drifted: int  # sweeps in which what a guardrail excludes won
    effects: list[float]  # of the design, on final
    final_pairs: int

    @property
    def better(self) -> float:
        return float(np.mean([verdict_word(c) == BETTER for c in self.comparisons]))

    @property
    def bias_points(self) -> float:
        return 100 * float(np.mean(self.reported - self.truth))

    @property
    def naive_bias_points(self) -> float:
        return 100 * float(np.mean(self.naive - self.naive_truth))

    @property
    def truths(self) -> tuple[float, float]:
        """Mean true accuracy of what was chosen, and of the maximum on select."""
        return float(self.truth.mean()), float(self.naive_truth.mean())

    @property
    def coverage(self) -> float:
        """How often the interval of the difference holds the true one."""
        bounds = np.array([c.interval for c in self.comparisons])
        return _share_inside(bounds, self.truth - self.baseline)

    @property
    def wilson_coverage(self) -> float:
        """The same of the winner's own accuracy."""
        return self._accuracy_coverage(self.effects)

    @property
    def naive_coverage(self) -> float:
        """... had every pair been asked alone."""
        return self._accuracy_coverage([1.0] * len(self.effects))

    def _accuracy_coverage(self, effects: Sequence[float]) -> float:
        n = self.final_pairs
        counts = (Count(round(accuracy * n), 0, n) for accuracy in self.reported)
        bounds = [wilson_interval(c, design_effect=e) for c, e in zip(counts, effects, strict=True)]
        return _share_inside(np.array(bounds), self.truth)

    def as_dict(self) -> dict[str, Any]:
        return {
            "better": self.better,
            "bias_points": self.bias_points,
            "naive_bias_points": self.naive_bias_points,
            "truths": self.truths,
            "coverage": self.coverage,
            "wilson_coverage": self.wilson_coverage,
            "naive_coverage": self.naive_coverage,
            "drifted_won": self.drifted,
        }


def sweeps(
    accuracies: Sequence[float],
    incumbent: float | None = None,
    *,
    select: int = 500,
    final: int = 1000,
    pairs_per_prompt: int = 2,
    repetitions: int = REPETITIONS,
    drifted: Sequence[int] = (),
    seed: int = 0,
) -> Sweeps:
    """Trials of these true accuracies, against the untouched reference (½ exactly, all ties) or an
    incumbent. Trials in `drifted` are over a guardrail's limit."""
    rng = np.random.default_rng(seed)
    everyone = np.array([*accuracies, 0.5 if incumbent is None else incumbent])
    broken = {"drift_chosen": Check(9.0, 0.5, False, "exclude")}
    in_select, in_final = (_groups(n, pairs_per_prompt) for n in (select, final))
    winners, naive, scores, differences = [], [], [], []
    for _ in range(repetitions):
        drifts = rng.random(len(accuracies))
        on_select = draw(rng, everyone[:-1], in_select)
        candidates = [
            Candidate(f"t{i:04d}", 10, 0, {}, s, 0.0, drifts[i], {}, broken if i in drifted else {})
            for i, s in enumerate(on_select)
        ]
        winner = choose(candidates, in_select).winner
        assert winner is not None
        winners.append(int(winner.trial[1:]))
        means = on_select.mean(axis=1)
        naive.append((means.max(), everyone[means.argmax()]))
        ours, theirs = draw(rng, everyone[[winners[-1], -1]], in_final)
        scores.append(ours)
        differences.append(ours - (0.5 if incumbent is None else theirs))
    maxima, true_of_maxima = np.array(naive).T
    return Sweeps(
        everyone[winners],
        everyone[-1],
        np.array(scores).mean(axis=1),
        maxima,
        true_of_maxima,
        compare(np.array(differences), in_final),
        sum(w in drifted for w in winners),
        [design_effect(values, in_final) for values in scores],
        final,
    )


def draw(rng: np.random.Generator, accuracies: np.ndarray, groups: Groups) -> np.ndarray:
    """1 right, 0 wrong: (policies, pairs)."""
    pairs = len(groups.codes)
    prompts = rng.standard_normal(len(groups.sizes))[groups.codes]
    difficulty = np.sqrt(OF_PROMPT) * prompts + np.sqrt(1 - OF_PROMPT) * rng.standard_normal(pairs)
    luck = rng.standard_normal((len(accuracies), pairs))
    latent = np.sqrt(SHARED) * difficulty + np.sqrt(1 - SHARED) * luck
    return (latent < stats.norm.ppf(accuracies)[:, None]).astype(np.float64)


def measure() -> dict[str, Any]:
    """Every scenario, by name."""
    return {
        "null": sweeps([0.5] * TRIALS),
        "null, incumbent": sweeps([0.65] * TRIALS, incumbent=0.65),
        "gain": sweeps([0.55] * TRIALS),
        "gain, incumbent": sweeps([0.70] * TRIALS, incumbent=0.65),
        "mixed": sweeps([0.5] * 20 + list(np.linspace(0.5, 0.6, 10))),
        "coverage": sweeps([0.65] * 2, incumbent=0.6, repetitions=2000),
        "drifted": sweeps([0.6] * 29 + [0.8], drifted=[29]),
    }


def rows(found: dict[str, Any]) -> list[Row]:
    """A maximum's bias stands where the recipe's numbers stand, for that is what it takes."""
    share = {"unit": "%", "of": "ours"}
    cover = found["coverage"]
    better = (
        ("better: 30 trials as good as the reference", "null", "<=", 5),
        ("better: 30 trials as good as the incumbent", "null, incumbent", "<=", 5),
        ("better: 5 points above the reference", "gain", ">=", 80),
        ("better: 5 points above the incumbent", "gain, incumbent", ">=", 80),
        ("better: the best of 30 by 10 points", "mixed", "", None),
    )
    bias = (("bias at 0.50, maximum", "null"), ("bias at 0.65, maximum", "null, incumbent"))
    intervals = (("a difference", cover.coverage), ("an accuracy", cover.wilson_coverage))
    return [
        *(
            Row(what, 100 * found[name].better, sign=sign, goal=goal, **share)
            for what, name, sign, goal in better
        ),
        *(
            Row(
                what,
                abs(found[name].bias_points),
                found[name].naive_bias_points,
                unit="points",
                sign="<=",
                goal=0.3,
                of="ours",
            )
            for what, name in bias
        ),
        *(
            Row(f"interval of {what} holds", 100 * value, sign=sign, goal=goal, **share)
            for what, value in intervals
            for sign, goal in ((">=", 93), ("<=", 97))
        ),
        Row(
            "drifted, 20 points better: wins",
            found["drifted"].drifted,
            sign="==",
            goal=0,
            of="ours",
        ),
    ]


def _groups(pairs: int, of_prompt: int) -> Groups:
    return Groups(np.arange(pairs, dtype=np.int64) // of_prompt)


def _share_inside(bounds: np.ndarray, truth: np.ndarray) -> float:
    return float(((bounds[:, 0] <= truth) & (truth <= bounds[:, 1])).mean())
