"""Generated answers of two policies to the same prompts: how much longer, and how many more loop. Pure.

A bound is the lower one at 99.5 %: an unchanged policy passes it in at most one of 200 comparisons.
Standard errors are those of a jackknife over prompt groups, because answers to similar prompts are not
independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from dpo_core.evaluation.failure_modes import SHORTEST_LOOP, loops
from dpo_core.evaluation.outcomes import Floats
from sweeps.run_dir.json_types import AnswerJson
from sweeps.selection.statistics import Groups

_CONFIDENCE = 0.995
_PRIOR_ENDS = (
    0.5  # answers that end, added to those of each policy: none at all is no infinite length
)


@dataclass(frozen=True)
class AnswerComparison:
    """A number of one policy's answers, compared with another's."""

    value: float
    bound: float
    """The lower 99.5 % bound of the value; minus infinity where there is only one prompt group."""
    note: str
    """The numbers behind the value, for readers."""
    untestable: str = ""
    """Why the answers cannot show the difference, if they cannot."""


def compare_lengths(
    answers: Sequence[AnswerJson], reference_answers: Sequence[AnswerJson], groups: Groups
) -> AnswerComparison:
    """Estimate how many times as long the answers are as those of the reference.

    An answer that was cut counts with the tokens that were written, but not as one that ended. So
    the length of an answer is estimated as all tokens over all ends, which is the mean where every
    answer ends, and the maximum-likelihood estimate under censoring where answers end at a steady
    rate.

    Args:
        answers: The policy's answer to each prompt.
        reference_answers: The reference's answers to the same prompts.
        groups: Prompt group of each prompt.

    Returns:
        The ratio of lengths.
    """
    tokens, ends = _columns(answers)
    reference_tokens, reference_ends = _columns(reference_answers)

    def log_ratio(sums: Floats) -> Floats:
        return _log_length(sums[0], sums[1]) - _log_length(sums[2], sums[3])

    sums = groups.sums(np.array([tokens, ends, reference_tokens, reference_ends]))
    error = max(
        _jackknife_error(sums, log_ratio),
        math.hypot(_error_of_ends(ends, groups), _error_of_ends(reference_ends, groups)),
    )
    value = float(log_ratio(sums.sum(axis=1)))
    bound = math.exp(_lower_bound(value, error, len(groups.sizes)))
    note = (
        f"at least {bound:.2f} (99.5 %); {ends.sum():.0f} of {len(answers)} answers ended, the "
        f"reference's {reference_ends.sum():.0f}"
    )
    return AnswerComparison(math.exp(value), bound, note)


def compare_loops(
    answers: Sequence[AnswerJson], reference_answers: Sequence[AnswerJson], groups: Groups
) -> AnswerComparison:
    """Estimate by how much the share of answers that loop is larger than the reference's.

    Args:
        answers: The policy's answer to each prompt.
        reference_answers: The reference's answers to the same prompts.
        groups: Prompt group of each prompt.

    Returns:
        The difference of the shares, in [-1, 1].
    """
    looping, of_reference = (
        np.array([loops(answer["tokens"]) for answer in each], dtype=np.float64)
        for each in (answers, reference_answers)
    )

    value, bound = _mean_and_bound(looping - of_reference, groups)
    count = f"{looping.sum():.0f} of {len(looping)}"
    note = f"{count} answers loop, the reference's {of_reference.sum():.0f}"
    return AnswerComparison(value, bound, note, "" if bound > 0 else _untestable(answers, groups))


def _untestable(answers: Sequence[AnswerJson], groups: Groups) -> str:
    """Say why answers could not show that more of them loop; empty where they could."""
    _, bound_of_all = _mean_and_bound(np.ones(len(answers)), groups)
    if bound_of_all <= 0:
        return (
            f"untestable: of {len(groups.sizes)} prompt groups not even all that loop would be sure"
        )
    cut = sum(
        len(answer["tokens"]) < SHORTEST_LOOP and not answer.get("ended", True)
        for answer in answers
    )
    if cut:
        return (
            f"untestable: {cut} of {len(answers)} answers were cut below {SHORTEST_LOOP} tokens, "
            "where no loop can be seen; raise selection.sample_tokens"
        )
    return ""


def _mean_and_bound(more: Floats, groups: Groups) -> tuple[float, float]:
    """Return the mean over prompts and its lower 99.5 % bound.

    Args:
        more: By how much the policy has more of something at each prompt, in [-1, 1]; (prompts,).
        groups: Prompt group of each prompt.

    Returns:
        Both numbers.
    """
    sums = groups.sums(np.array([more, np.ones(len(more))]))
    # One imagined prompt in favour of each policy: two prompts that agree are no certainty.
    imagined = np.concatenate([sums, [[1.0, -1.0], [1.0, 1.0]]], axis=1)
    error = _jackknife_error(imagined, lambda sums: sums[0] / sums[1])
    value = float(more.mean())
    return value, _lower_bound(value, error, len(groups.sizes))


def _columns(answers: Sequence[AnswerJson]) -> tuple[Floats, Floats]:
    """Return the tokens of each answer, and 1 for each that ended; (prompts,) each."""
    tokens = np.array([len(answer["tokens"]) for answer in answers], dtype=np.float64)
    ends = np.array([answer.get("ended", True) for answer in answers], dtype=np.float64)
    return tokens, ends


def _log_length(tokens: Floats, ends: Floats) -> Floats:
    """Return the logarithm of the estimated length of an answer, in tokens; at least that of one."""
    length: Floats = np.log(np.maximum(tokens, 1.0) / (ends + _PRIOR_ENDS))
    return length


def _error_of_ends(ends: Floats, groups: Groups) -> float:
    """Return the standard error of the logarithm of a binomial number of ends.

    Where hardly any answer ended, a jackknife sees too few of them to see how rare they are.
    """
    count, ended = len(ends), float(ends.sum())
    copies = count / len(groups.sizes)
    return math.sqrt(copies * (count - ended) / count / (ended + _PRIOR_ENDS))


def _jackknife_error(sums: Floats, statistic: Callable[[Floats], Floats]) -> float:
    """Return the standard error of a statistic of sums over all groups.

    Args:
        sums: Sums over the prompts of each group, (columns, groups).
        statistic: Maps sums, (columns, n), to values, (n,).

    Returns:
        The error; 0 for one group.
    """
    count = sums.shape[1]
    without_one = statistic(sums.sum(axis=1, keepdims=True) - sums)
    return math.sqrt((count - 1) / count * float(((without_one - without_one.mean()) ** 2).sum()))


def _lower_bound(value: float, error: float, groups: int) -> float:
    """Return the lower 99.5 % bound by Student's t; minus infinity for one group."""
    if groups < 2:
        return -math.inf
    return value - float(stats.t.ppf(_CONFIDENCE, groups - 1)) * error
