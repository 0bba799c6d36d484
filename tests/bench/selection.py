"""How often verdicts and intervals err on pairs that come in groups: simulated scores, no sweep.

A policy ranks a pair right when the pair's difficulty stays below what the policy's true accuracy
allows, and ties where it is close to that. Difficulty is Gaussian, and shared in part by the pairs of
a group. An incumbent's difficulty of the same pair correlates with the winner's, so that both rank a
given share of pairs differently. `tests.bench.choice` simulates the choice before the verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy import optimize, stats

from sweeps.selection.statistics import CONFIDENCE, Groups, accuracy_intervals, compare
from tests.bench.table import Row

REPETITIONS = 10_000
CORRELATIONS = (0.0, 0.2, 0.5)
FEWEST_FOR_POWER = 10  # groups; fewer have no such goal
_AT_ONCE = 1_000  # repetitions in memory
_POWER = 2.8  # standard errors that a test shows with a power of 80 %


def zipf(groups: int, mean: int) -> tuple[int, ...]:
    """Sizes that fall as 1, 1/2, 1/3, …"""
    shares = 1 / np.arange(1, groups + 1)
    return tuple(
        np.maximum(1, np.round(groups * mean * shares / shares.sum())).astype(int).tolist()
    )


DESIGNS = {
    "100 groups of 2": (2,) * 100,
    "10 groups of 10": (10,) * 10,
    "5 groups of 50": (50,) * 5,
    "30 groups of 50": (50,) * 30,
    "50 groups, Zipf": zipf(50, 10),
    "100 groups, Zipf": zipf(100, 10),
    "100 prompts, 3 copies": (3,) * 100,
    "50 prompts, 5 copies": (5,) * 50,
    "100 prompts, 10 copies": (10,) * 100,
}


@dataclass(frozen=True)
class Truth:
    """What is true of the winner. With `discordance`, what it is compared with is an incumbent that
    ranks such a share of pairs differently; else the reference, which is right by ½ on every pair."""

    name: str
    accuracy: float = 0.5
    ties: float = 0.0
    discordance: float | None = None


EQUAL = (
    Truth("the reference"),
    Truth("the reference, 50 % ties", ties=0.5),
    Truth("the reference, 90 % ties", ties=0.9),
    Truth("an incumbent of 0.65", 0.65, discordance=0.1),
    Truth("an incumbent of 0.98", 0.98, discordance=0.02),
)
"""Winners that are as good as what they are compared with: each verdict is false."""
COVERED = (
    Truth("0.5"),
    Truth("0.65", 0.65),
    Truth("0.98", 0.98),
    Truth("0.65, 50 % ties", 0.65, 0.5),
    Truth("0.53, 90 % ties", 0.53, 0.9),
)
"""Winners whose accuracy an interval should hold."""
BETTER = (EQUAL[0], EQUAL[3])
"""What winners are better than, by what the cluster-t test would show with a power of 80 %."""


PAIRS, GAIN = 200, 0.05
"""Pairs without groups, and a gain, of which verdicts are expected to show a given share."""
TRIALS, SELECT_PAIRS = 30, 500
"""Trials that are equally good, and the pairs on which the best of them is found."""


@dataclass(frozen=True)
class Shown:
    """How often something is shown, in [0, 1]."""

    sign_flips: float
    t_test: float


@dataclass(frozen=True)
class Covered:
    """How often an interval holds the truth, in [0, 1], and its mean width."""

    share: float
    width: float


@dataclass(frozen=True)
class Found:
    """What came out of one design at one correlation, by the name of the truth."""

    design: str
    correlation: float
    false: dict[str, Shown]
    power: dict[str, Shown]
    accuracy: dict[str, Covered]
    difference: dict[str, Covered]

    def as_dict(self) -> dict[str, Any]:
        parts = ("false", "power", "accuracy", "difference")
        shown = {part: {k: vars(v) for k, v in getattr(self, part).items()} for part in parts}
        return {"design": self.design, "correlation": self.correlation, **shown}


def measure(repetitions: int = REPETITIONS) -> list[Found]:
    """Every design at every correlation."""
    return [
        measure_design(design, correlation, repetitions)
        for design in DESIGNS
        for correlation in CORRELATIONS
    ]


def show_gain(truth: Truth, repetitions: int = REPETITIONS) -> Shown:
    """Compare winners that are better by `GAIN` on `PAIRS` pairs without groups."""
    shown, _ = verdicts((1,) * PAIRS, 0.0, truth, GAIN, repetitions, seed=4)
    return shown


def flattery(repetitions: int = REPETITIONS) -> float:
    """By how much the highest accuracy of trials that are equally good is above the true one."""
    rng = np.random.default_rng(5)
    above = []
    for _ in range(repetitions // 10):
        difficulty, luck = rng.standard_normal(SELECT_PAIRS), (TRIALS, SELECT_PAIRS)
        latent = np.sqrt(0.5) * (difficulty + rng.standard_normal(luck))
        above.append((latent < 0).mean(axis=1).max() - 0.5)
    return float(np.mean(above))


def measure_design(
    design: str,
    correlation: float,
    repetitions: int,
    truths: Sequence[Sequence[Truth]] = (EQUAL, BETTER, COVERED),
    seed: int = 0,
) -> Found:
    """One design at one correlation, by default with all truths."""
    sizes, (equal, better, covered) = DESIGNS[design], truths
    false, power, accuracy, difference = {}, {}, {}, {}
    for truth in equal:
        false[truth.name], _ = verdicts(sizes, correlation, truth, 0.0, repetitions, seed)
    for truth in better:
        gain = _visible_gain(sizes, correlation, truth)
        power[truth.name], difference[truth.name] = verdicts(
            sizes, correlation, truth, gain, repetitions, seed + 1
        )
    for truth in covered:
        accuracy[truth.name] = coverage(sizes, correlation, truth, repetitions, seed + 2)
    return Found(design, correlation, false, power, accuracy, difference)


def verdicts(
    sizes: Sequence[int],
    correlation: float,
    truth: Truth,
    gain: float,
    repetitions: int,
    seed: int,
) -> tuple[Shown, Covered]:
    """Compare winners that are better by `gain`: how often that is shown, and the intervals."""
    groups, level = _groups(sizes), 1 - CONFIDENCE
    flips, t_test, bounds = [], [], []
    for rng, rows in _turns(repetitions, seed):
        differences = draw_differences(rng, sizes, correlation, truth, gain, rows)
        comparisons = compare(differences, groups)
        flips += [c.p_value < level for c in comparisons]
        bounds += [c.interval for c in comparisons]
        t_test.append(cluster_t_p_values(differences, groups) < level)
    shown = Shown(float(np.mean(flips)), float(np.concatenate(t_test).mean()))
    return shown, _covered(np.array(bounds), gain)


def coverage(
    sizes: Sequence[int], correlation: float, truth: Truth, repetitions: int, seed: int
) -> Covered:
    """How often the interval of one accuracy holds it."""
    groups = _groups(sizes)
    bounds = [
        accuracy_intervals(draw_scores(rng, sizes, correlation, truth, rows), groups)
        for rng, rows in _turns(repetitions, seed)
    ]
    return _covered(np.concatenate(bounds), truth.accuracy)


def draw_scores(
    rng: np.random.Generator, sizes: Sequence[int], correlation: float, truth: Truth, rows: int
) -> np.ndarray:
    """1 right, ½ a tie, 0 wrong: (rows, pairs)."""
    return _scores(_latent(rng, sizes, correlation, rows), truth.accuracy, truth.ties)


def draw_differences(
    rng: np.random.Generator,
    sizes: Sequence[int],
    correlation: float,
    truth: Truth,
    gain: float,
    rows: int,
) -> np.ndarray:
    """The winner's score minus the other's, (rows, pairs), with a mean of `gain`."""
    difficulty = _latent(rng, sizes, correlation, rows)
    winner = _scores(difficulty, truth.accuracy + gain, truth.ties)
    if truth.discordance is None:
        return winner - 0.5
    alike = likeness(truth.accuracy, gain, truth.discordance)
    own = _latent(rng, sizes, correlation, rows)
    incumbent = np.sqrt(alike) * difficulty + np.sqrt(1 - alike) * own
    return winner - _scores(incumbent, truth.accuracy, truth.ties)


def cluster_t_p_values(differences: np.ndarray, groups: Groups) -> np.ndarray:
    """The usual cluster-robust t test with a degree of freedom for each group but one."""
    count, means = len(groups.sizes), differences.mean(axis=1)
    residuals = groups.sums(differences - means[:, None])
    errors = np.sqrt((residuals**2).sum(axis=1) * count / (count - 1)) / differences.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(means == 0, 0.0, np.abs(means) / errors)
    return 2 * stats.t.sf(t, count - 1)


def rows(found: Sequence[Found]) -> list[Row]:
    """The worst cell of each kind, against its goal."""
    many = [f for f in found if len(DESIGNS[f.design]) >= FEWEST_FOR_POWER]
    false = max(shown.sign_flips for f in found for shown in f.false.values())
    power = min(shown.sign_flips / shown.t_test for f in many for shown in f.power.values())
    accuracy = min(held.share for f in found for held in f.accuracy.values())
    difference = min(held.share for f in found for held in f.difference.values())
    return [
        _row("false verdicts, worst cell", false, "<=", 6),
        _row("power, of the cluster-t test's, worst cell", power, ">=", 90),
        _row("interval of an accuracy holds it, worst cell", accuracy, ">=", 93),
        _row("interval of a difference holds it, worst cell", difference, ">=", 93),
    ]


def rows_of_gains(reference: Shown, incumbent: Shown, flattered: float) -> list[Row]:
    """What is shown of a true gain without groups, and what a maximum pretends."""
    better, pairs = f"better: {100 * GAIN:.0f} points above", f"{PAIRS} pairs"
    maximum = f"the highest of {TRIALS} equal trials on {SELECT_PAIRS} pairs is above its truth by"
    return [
        _row(f"{better} the reference, {pairs}", reference.sign_flips, ">=", 25),
        _row(f"{better} an incumbent at 10 % discordance, {pairs}", incumbent.sign_flips, ">=", 55),
        Row(maximum, 100 * flattered, unit="points"),
    ]


def _row(what: str, share: float, sign: str, goal: float) -> Row:
    return Row(what, 100 * share, unit="%", sign=sign, goal=goal, of="ours")


def tables(found: Sequence[Found]) -> list[Any]:
    """Every cell: false verdicts, power beside that of the t test, coverage and widths."""
    return [
        _table(
            "False verdicts, % (those of the cluster-t test)",
            found,
            {name: [_shown(f.false[name]) for f in found] for name in found[0].false},
        ),
        _table(
            "Power where the cluster-t test should have 80 %, % (that of the cluster-t test)",
            found,
            {name: [_shown(f.power[name]) for f in found] for name in found[0].power},
        ),
        _table(
            "Intervals of one accuracy that hold it, % (mean width, points)",
            found,
            {name: [_held(f.accuracy[name]) for f in found] for name in found[0].accuracy},
        ),
        _table(
            "Intervals of a difference that hold it, % (mean width, points)",
            found,
            {name: [_held(f.difference[name]) for f in found] for name in found[0].difference},
        ),
    ]


def _visible_gain(sizes: Sequence[int], correlation: float, truth: Truth) -> float:
    """What 2.8 standard errors are where nothing is better, but no more than can be gained."""
    rng = np.random.default_rng(3)
    equal = draw_differences(rng, sizes, correlation, truth, 0.0, _AT_ONCE)
    most = 0.45 if truth.discordance is None else 0.9 * truth.discordance
    return float(min(_POWER * equal.mean(axis=1).std(), most))


def _latent(
    rng: np.random.Generator, sizes: Sequence[int], correlation: float, rows: int
) -> np.ndarray:
    shared = rng.standard_normal((rows, len(sizes)), dtype=np.float32).repeat(sizes, axis=1)
    own = rng.standard_normal((rows, sum(sizes)), dtype=np.float32)
    return np.float32(correlation**0.5) * shared + np.float32((1 - correlation) ** 0.5) * own


def _scores(difficulty: np.ndarray, accuracy: float, ties: float) -> np.ndarray:
    right, not_wrong = stats.norm.ppf([accuracy - ties / 2, accuracy + ties / 2])
    return ((difficulty < right).astype(np.float64) + (difficulty < not_wrong)) / 2


@cache
def likeness(accuracy: float, gain: float, discordance: float) -> float:
    """The squared correlation of two policies' difficulties that gives the discordance."""
    limits = stats.norm.ppf([accuracy, accuracy + gain])

    def excess(squared: float) -> float:
        correlation = squared**0.5
        both = stats.multivariate_normal.cdf(
            limits, cov=[[1.0, correlation], [correlation, 1.0]], abseps=1e-9
        )
        return float(2 * accuracy + gain - 2 * both - discordance)

    return float(optimize.brentq(excess, 0.0, 1 - 1e-9))


def _groups(sizes: Sequence[int]) -> Groups:
    return Groups(np.repeat(np.arange(len(sizes), dtype=np.int64), sizes))


def _turns(repetitions: int, seed: int) -> Iterator[tuple[np.random.Generator, int]]:
    rng = np.random.default_rng(seed)
    for start in range(0, repetitions, _AT_ONCE):
        yield rng, min(_AT_ONCE, repetitions - start)


def _covered(bounds: np.ndarray, truth: float) -> Covered:
    low, high = bounds.T
    return Covered(float(((low <= truth) & (truth <= high)).mean()), float((high - low).mean()))


def _shown(found: Shown) -> str:
    return f"{100 * found.sign_flips:.1f} ({100 * found.t_test:.1f})"


def _held(found: Covered) -> str:
    return f"{100 * found.share:.1f} ({100 * found.width:.1f})"


def _table(title: str, found: Sequence[Found], columns: dict[str, list[str]]) -> Any:
    from rich.table import Table

    drawn = Table(title=title)
    drawn.add_column("pairs")
    for name in ("correlation", *columns):
        drawn.add_column(name, justify="right")
    for number, of_design in enumerate(found):
        cells = (values[number] for values in columns.values())
        drawn.add_row(of_design.design, f"{of_design.correlation:g}", *cells)
    return drawn
