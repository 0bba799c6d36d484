"""What the guardrails let through and what they exclude, by simulation; a minute on one core.

Lengths of answers are drawn from gamma distributions: with a standard deviation of 0.6 of the mean,
as real answers have, and of the mean itself, as answers have that may end at every token alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dpo_core.evaluation.outcomes import Outcomes
from sweeps.config.selection import GuardrailSettings, SelectionSettings
from sweeps.run_dir.json_types import AnswerJson
from sweeps.selection.answer_comparison import AnswerComparison, compare_lengths, compare_loops
from sweeps.selection.guardrails import check_outcomes
from sweeps.selection.statistics import Groups
from tests.bench.table import Row

LIMITS = GuardrailSettings()
CUT_AT = SelectionSettings().sample_tokens
PROMPTS = SelectionSettings().sample_prompts
MEANS = (20, 80, 150, 400)
SHAPES = {"0.6 of the mean": 1 / 0.6**2, "the mean": 1.0}
DRAWS = 2000
_PAIRS = 200
LOOPING, OF_REFERENCE = 28 / 45, 0.16
"""Shares of answers that loop: of a collapsed policy, as in the recorded trial, and of the reference."""


def excluded_by_length(comparison: AnswerComparison) -> bool:
    return comparison.value > LIMITS.length_growth.limit and comparison.bound > 1


def excluded_by_loops(comparison: AnswerComparison) -> bool:
    return comparison.value > LIMITS.loops.limit and comparison.bound > 0


def answers(lengths: np.ndarray, cut_at: int = CUT_AT) -> list[AnswerJson]:
    """Return an answer of each length, cut at `cut_at` tokens."""
    return [
        {"text": "", "tokens": range(min(int(n), cut_at)), "ended": bool(n <= cut_at)}
        for n in lengths
    ]


def looping(is_loop: np.ndarray) -> list[AnswerJson]:
    """Return an answer for each entry, which is empty where it is true: that counts as a loop."""
    return [{"text": "", "tokens": () if loop else (1,)} for loop in is_loop]


def length_alarms(
    mean: float, growth: float, shape: float, prompts: int = PROMPTS, draws: int = DRAWS
) -> float:
    """Return how often answers that are `growth` times as long are excluded, as a share."""
    rng = np.random.default_rng(0)
    groups = Groups(np.arange(prompts, dtype=np.int64))

    def draw(factor: float) -> list[AnswerJson]:
        return answers(np.ceil(factor * rng.gamma(shape, mean / shape, prompts)))

    found = (compare_lengths(draw(growth), draw(1.0), groups) for _ in range(draws))
    return sum(map(excluded_by_length, found)) / draws


def loop_alarms(share: float, of_reference: float, prompts: int = PROMPTS) -> float:
    """Return how often a policy of which `share` of the answers loop is excluded."""
    rng = np.random.default_rng(0)
    groups = Groups(np.arange(prompts, dtype=np.int64))
    draws = (rng.random((2, prompts)) < [[share], [of_reference]] for _ in range(DRAWS))
    found = (compare_loops(*map(looping, both), groups) for both in draws)
    return sum(map(excluded_by_loops, found)) / DRAWS


def bias_alarms(longer: float, shorter: float, share_longer: float, pairs: int = _PAIRS) -> float:
    """Return how often a policy with these accuracies in both slices is excluded for its length."""
    rng, groups = np.random.default_rng(0), Groups(np.arange(pairs, dtype=np.int64))
    zero, tokens = np.zeros(pairs), np.full(pairs, 50)
    ids, excluded = tuple(f"{i:06d}" for i in range(pairs)), 0
    for _ in range(DRAWS):
        gap = np.where(rng.random(pairs) < share_longer, 1, -1)
        right = rng.random(pairs) < np.where(gap > 0, longer, shorter)
        margin = np.where(right, 1.0, -1.0)
        scored = Outcomes(ids, margin, zero, zero, zero, tokens + gap, tokens)
        excluded += check_outcomes(scored, "reward_accuracy", groups, LIMITS)[
            "length_bias"
        ].excludes
    return excluded / DRAWS


def least(alarms: Callable[[float], float], values: np.ndarray) -> float | None:
    """Return the least of increasing values that is excluded in 80 % of the draws."""
    return next((float(value) for value in values if alarms(value) >= 0.8), None)


def measure() -> dict[str, Any]:
    """Every number, by name."""
    growths, loops = np.arange(1.2, 6.0, 0.1), np.arange(0.12, 0.6, 0.02)
    return {
        "unchanged": {
            f"mean {mean}, deviation {name}, {prompts} prompts": length_alarms(
                mean, 1.0, shape, prompts
            )
            for mean in MEANS
            for name, shape in SHAPES.items()
            for prompts in (PROMPTS, 15)
        },
        "detected": {
            f"mean {mean}, deviation {name}": least(
                lambda growth, m=mean, s=shape: length_alarms(m, growth, s, draws=200), growths
            )
            for mean in MEANS
            for name, shape in SHAPES.items()
        },
        "unchanged loops": {share: loop_alarms(share, share) for share in (0.02, 0.16, 0.5)},
        "detected loops": {
            share: least(lambda more, s=share: loop_alarms(s + more, s), loops)
            for share in (0.0, 0.16)
        },
        "collapse": {n: loop_alarms(LOOPING, OF_REFERENCE, n) for n in (PROMPTS, 38, 15, 10)},
        "length alone": bias_alarms(1.0, 0.0, 0.7),
        "brevity alone": bias_alarms(0.0, 1.0, 0.7),
        "honest": bias_alarms(0.6, 0.6, 0.9),
        "0.80 and 0.39": bias_alarms(0.39, 0.80, 0.5),
    }


def rows(found: dict[str, Any]) -> list[Row]:
    """Return the rows of the bench's table."""
    share = {"unit": "%", "of": "ours"}
    unchanged = 100 * max(found["unchanged"].values())
    lines = [
        Row("length: unchanged answers excluded, at most", unchanged, sign="<=", goal=1, **share)
    ]
    for name, value in found["detected"].items():
        lines.append(Row(f"length: growth excluded in 80 %; {name}", value, unit="times"))
    for rate, value in found["unchanged loops"].items():
        what = f"loops: {rate:.0%} of the answers, as of the reference's: excluded"
        lines.append(Row(what, 100 * value, sign="<=", goal=1, **share))
    for rate, value in found["detected loops"].items():
        what = f"loops: more than the reference's {rate:.0%}, excluded in 80 %"
        lines.append(Row(what, 100 * value, unit="points"))
    for prompts, value in found["collapse"].items():
        what = f"loops: a collapse from {OF_REFERENCE:.0%} to {LOOPING:.0%} of {prompts}, excluded"
        lines.append(Row(what, 100 * value, unit="%"))
    for name, sign, goal in (
        ("length alone", ">=", 100),
        ("brevity alone", ">=", 100),
        ("honest", "<=", 0.5),
        ("0.80 and 0.39", "", None),
    ):
        what = f"length bias: {name}, excluded"
        lines.append(Row(what, 100 * found[name], sign=sign, goal=goal, **share))
    return lines
