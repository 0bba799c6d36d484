"""The rule of the choice on simulated sweeps: whom it takes when some did nothing and some collapsed.

A trial's strength decides the size of its margins, its true accuracy and what its chosen answers
gain. Accuracy rises with strength and saturates, while chosen answers gain a little and then lose:
drift and accuracy are correlated, as in real sweeps. One trial did nothing, and one collapsed at the
accuracy of the best. All policies of a sweep share the difficulty of its pairs and part of its luck.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from dpo_core.evaluation.outcomes import Outcomes
from sweeps.config.selection import SelectionSettings
from sweeps.run_dir.ledger import TrialRecord
from sweeps.selection.candidates import CandidateRules
from sweeps.selection.eligibility import moved_scores
from sweeps.selection.guardrails import add_answer_checks
from sweeps.selection.rule import Candidate, choose
from sweeps.selection.statistics import Groups
from tests.bench.guardrails import LOOPING, OF_REFERENCE, looping
from tests.bench.table import Row

REPETITIONS = 2000
TRIALS = 10
SIZES = (15, 38, 200, 1000)
THRESHOLD = 0.1
OBJECTIVE = "reward_accuracy"
DIFFICULTY, SWEEP_LUCK = 0.6, 0.3  # parts of the variance that all policies of a sweep share


@dataclass(frozen=True)
class Policy:
    """A checkpoint as it truly is."""

    name: str
    accuracy: float
    """Share of all pairs of the world that it ranks right."""
    chosen_gain: float
    """Nats per token."""
    scale: float
    """Size of its margins in nats."""
    collapsed: bool = False


def policies(rng: np.random.Generator) -> list[Policy]:
    """Return the checkpoints of one sweep: one did nothing, one collapsed."""
    strengths = np.sort(rng.uniform(0.15, 0.95, TRIALS))
    plateau = rng.uniform(0.58, 0.75)
    accuracies = 0.5 + (plateau - 0.5) * (1 - np.exp(-strengths / 0.3))
    gains = 0.05 * strengths - 0.9 * np.clip(strengths - 0.45, 0, None) ** 1.5
    trained = [
        Policy(f"t{i:04d}", float(accuracy), float(gain), float(0.05 * 10 ** (3 * strength)))
        for i, (strength, accuracy, gain) in enumerate(
            zip(strengths, accuracies, gains, strict=True)
        )
    ]
    best = max(policy.accuracy for policy in trained)
    return [
        *trained,
        Policy(
            "untouched", 0.62, 0.0, 0.002
        ),  # the direction of one gradient is right on easy pairs
        Policy("collapsed", best, -0.5, 40.0, collapsed=True),
    ]


def draw(
    rng: np.random.Generator, sweep: Sequence[Policy], pairs: int
) -> Iterator[tuple[Policy, Outcomes]]:
    """Draw the outcomes of each policy on the same pairs of a split."""
    difficulty, sweep_luck = rng.standard_normal((2, pairs))
    lengths = [np.clip(rng.lognormal(3.6, 0.5, pairs).astype(np.int64), 4, None) for _ in range(2)]
    reference = [-2.0 * tokens + rng.normal(0, 3, pairs) for tokens in lengths]
    ids = tuple(f"p{i:05d}" for i in range(pairs))
    for policy in sweep:
        own = rng.standard_normal(pairs)
        luck = np.sqrt(SWEEP_LUCK) * sweep_luck + np.sqrt(1 - SWEEP_LUCK) * own
        hardness = np.sqrt(DIFFICULTY) * difficulty + np.sqrt(1 - DIFFICULTY) * luck
        margins = policy.scale * (stats.norm.ppf(policy.accuracy) - hardness)
        gain = policy.chosen_gain * lengths[0] + rng.normal(0, 0.02, pairs) * policy.scale
        columns = reference[0] + gain, reference[1] + gain - margins
        yield policy, Outcomes(ids, *columns, *reference, *lengths)


Rule = Callable[[Sequence[Candidate], Groups], Candidate | None]


def our_rule(candidates: Sequence[Candidate], groups: Groups) -> Candidate | None:
    """Choose as a sweep does."""
    return choose(candidates, groups).winner


def most_accurate(candidates: Sequence[Candidate], groups: Groups) -> Candidate | None:
    """Choose the most accurate of those that can win."""
    return choose(candidates, groups).best


def least_drift(candidates: Sequence[Candidate], groups: Groups) -> Candidate | None:
    """Choose the one that drifted least within a whole paired standard error of the most accurate."""
    from sweeps.selection.statistics import standard_errors

    best = max(candidates, key=lambda c: c.accuracy)
    gaps = np.array([best.accuracy - c.accuracy for c in candidates])
    errors = standard_errors(np.stack([best.scores - c.scores for c in candidates]), groups)
    within = [c for c, gap, error in zip(candidates, gaps, errors, strict=True) if gap <= error]
    return min(within, key=lambda c: c.drift)


RULES: Mapping[str, Rule] = {
    "rule": our_rule,
    "most accurate": most_accurate,
    "least drift within a standard error, all candidates": least_drift,
}


@dataclass(frozen=True)
class Chosen:
    """Whom a rule chose over many sweeps, and what their final splits showed."""

    truth: float
    """Mean true accuracy, in [0, 1]."""
    bias: float
    """Mean of the accuracy that final shows, minus the true one."""
    untouched: float
    """Share of sweeps in which the policy that did nothing won."""
    collapsed: float
    none: float
    """Share of sweeps without a winner."""

    def as_dict(self) -> dict[str, float]:
        return dict(vars(self))


def simulate(
    pairs: int, repetitions: int = REPETITIONS, *, answers: bool = True, seed: int = 0
) -> dict[str, Chosen]:
    """Choose by each rule in many sweeps.

    Args:
        pairs: Pairs of select, and of final.
        repetitions: How many sweeps.
        answers: Whether answers are generated, of which those of collapsed policies often loop.
        seed: Seed of the simulation.

    Returns:
        The choices by the rule's name.
    """
    rng = np.random.default_rng(seed)
    groups = Groups(np.arange(pairs, dtype=np.int64))
    rules = CandidateRules(SelectionSettings(), THRESHOLD, groups)
    chosen: dict[str, list[tuple[float, float, bool, bool]]] = {name: [] for name in RULES}
    for _ in range(repetitions):
        sweep = policies(rng)
        candidates = [
            _candidate(rules, policy, o, rng if answers else None)
            for policy, o in draw(rng, sweep, pairs)
        ]
        final = {policy.name: outcomes for policy, outcomes in draw(rng, sweep, pairs)}
        by_name = {policy.name: policy for policy in sweep}
        for name, rule in RULES.items():
            winner = rule(candidates, groups)
            if winner is not None:
                policy = by_name[winner.trial]
                shown = moved_scores(final[policy.name], OBJECTIVE, THRESHOLD).mean()
                is_untouched = policy.name == "untouched"
                chosen[name].append((policy.accuracy, float(shown), is_untouched, policy.collapsed))
    return {name: _summary(rows, repetitions) for name, rows in chosen.items()}


def _candidate(
    rules: CandidateRules, policy: Policy, outcomes: Outcomes, rng: np.random.Generator | None
) -> Candidate:
    """Return a policy as a candidate; with `rng` the answers of a collapsed one are drawn."""
    record = TrialRecord(policy.name, {"beta": 0.1}, "finished", 0)
    candidate = rules.candidate(record, 10, outcomes)
    if not policy.collapsed or rng is None:
        return candidate
    settings = rules.settings
    prompts = min(settings.sample_prompts, len(outcomes.ids))
    own, of_reference = (looping(rng.random(prompts) < share) for share in (LOOPING, OF_REFERENCE))
    groups = Groups(np.arange(prompts, dtype=np.int64))
    checks = add_answer_checks(candidate.checks, own, of_reference, groups, settings.guardrails)
    return replace(candidate, checks=checks)


def _summary(rows: Sequence[tuple[float, float, bool, bool]], repetitions: int) -> Chosen:
    truth, shown, untouched, collapsed = np.array(rows, dtype=np.float64).T
    return Chosen(
        truth=float(truth.mean()),
        bias=float((shown - truth).mean()),
        untouched=float(untouched.sum() / repetitions),
        collapsed=float(collapsed.sum() / repetitions),
        none=1 - len(rows) / repetitions,
    )


def measure(repetitions: int = REPETITIONS) -> dict[str, dict[str, Chosen]]:
    """Simulate splits of several sizes, and one without generated answers."""
    measured = {f"{pairs} pairs": simulate(pairs, repetitions) for pairs in SIZES}
    measured["200 pairs, no answers"] = simulate(200, repetitions, answers=False)
    return measured


def rows(measured: Mapping[str, Mapping[str, Chosen]]) -> list[Row]:
    """Return what was measured as rows; accuracies in points below that of the most accurate."""
    return [row for size, by_rule in measured.items() for row in _rows(size, by_rule)]


def _rows(size: str, by_rule: Mapping[str, Chosen]) -> Iterator[Row]:
    ours, maximum, before = (by_rule[name] for name in RULES)
    judged: dict[str, Any] = {"of": "ours"} if size == "200 pairs" else {}

    def goal(sign: str, value: float) -> dict[str, Any]:
        return {"sign": sign, "goal": value, **judged} if judged else {}

    loss, loss_before = (100 * (maximum.truth - each.truth) for each in (ours, before))
    yield Row(
        f"choice, {size}: true accuracy below the most accurate",
        loss,
        loss_before,
        "points",
        **goal("<=", 0.3),
    )
    yield Row(
        f"choice, {size}: bias of final", abs(100 * ours.bias), None, "points", **goal("<=", 0.3)
    )
    for name in ("untouched", "collapsed"):
        yield Row(
            f"choice, {size}: the {name} one wins",
            100 * getattr(ours, name),
            100 * getattr(before, name),
            "%",
            **goal("<=", 0),
        )
