"""The split of each prompt: drawn for its cluster of near duplicates, unless it is bound to one.

Prompts are bound to a split where the split is read from its own file, and where they were in a final
split that was opened before. No prompt of another split is nearly the same as one of those.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dpo_core.preferences.near_duplicates import Indices, Mask, Sketches
from dpo_core.preferences.split_draws import DrawnSplits

LEFT_OUT = ""
"""Instead of a split, for a prompt that would join prompts of two splits."""


@dataclass(frozen=True)
class PromptSplits:
    """The split and the cluster of each prompt, by the prompt's name."""

    split: Mapping[str, str]
    cluster: Mapping[str, str]
    """The first name, in alphabetical order, of the prompts of the cluster."""
    over_limit: Mapping[str, int]
    """Pairs that are in train because the split they were drawn for is full, by that split."""


def assign_prompts(
    names: Sequence[str],
    sketches: Sketches,
    bound: Mapping[str, str],
    open_splits: Collection[str],
    draw: Callable[[Mapping[str, int], Mapping[str, int]], DrawnSplits],
    pairs: Mapping[str, int],
) -> PromptSplits:
    """Assign prompts to splits.

    A prompt that is like a bound one joins its split if it may, and if it is like no prompt of another
    split. Otherwise it is left out. The clusters of all others are found without it, so that it moves
    none of them.

    Args:
        names: Name of each prompt.
        sketches: Sketches of the prompts, in the order of `names`.
        bound: The split of each prompt that is bound to one, by name.
        open_splits: Splits with bound prompts that others may join.
        draw: Draws the splits of clusters, called with their numbers of pairs by name, and with the
            numbers of pairs that a split has in any case.
        pairs: The number of pairs of each prompt to be assigned, by name.

    Returns:
        Splits and clusters; the order of the prompts does not change them.
    """
    splits = [bound.get(name, LEFT_OUT) for name in names]
    is_bound = _are_in_a_split(splits)
    is_near = _near(sketches, is_bound)
    is_free = ~is_bound & ~is_near
    drawn = _cluster_names(names, sketches, is_free)
    clusters: Counter[str] = Counter()
    for position in np.flatnonzero(is_free).tolist():
        clusters[drawn[position]] += pairs.get(names[position], 0)
    result = draw(clusters, _bound_pairs(names, splits, is_near, open_splits, pairs))
    for position in np.flatnonzero(is_free).tolist():
        splits[position] = result.split[drawn[position]]
    for position, met in _splits_met(sketches, is_near, splits):
        if len(met) == 1 and met <= set(open_splits):
            [splits[position]] = met
    named = drawn if is_free.all() else _cluster_names(names, sketches, _are_in_a_split(splits))
    return PromptSplits(
        dict(zip(names, splits, strict=True)),
        dict(zip(names, named, strict=True)),
        result.over_limit,
    )


def _bound_pairs(
    names: Sequence[str],
    splits: Sequence[str],
    is_near: Mask,
    open_splits: Collection[str],
    pairs: Mapping[str, int],
) -> dict[str, int]:
    """Count the pairs that splits have in any case: of bound prompts, and those that may join them."""
    bound: Counter[str] = Counter()
    near = sum(pairs.get(names[position], 0) for position in np.flatnonzero(is_near).tolist())
    for name, split in zip(names, splits, strict=True):
        if split in open_splits:
            bound[split] += pairs.get(name, 0)
    return {split: count + near for split, count in bound.items()}


def _are_in_a_split(splits: Sequence[str]) -> Mask:
    return np.array([split != LEFT_OUT for split in splits], np.bool_)


def _cluster_names(names: Sequence[str], sketches: Sketches, among: Mask) -> list[str]:
    """Return the least name of each prompt's cluster.

    Names are hashes. So a cluster that gains a prompt seldom changes its name, and of two clusters that
    become one the larger seldom does.
    """
    numbers = sketches.clusters(among).tolist()
    least: dict[int, str] = {}
    for name, number in zip(names, numbers, strict=True):
        least[number] = min(name, least.get(number, name))
    return [least[number] for number in numbers]


def _near(sketches: Sketches, is_bound: Mask) -> Mask:
    """Return which prompts are not bound, but like one that is."""
    is_near = np.zeros(len(sketches), np.bool_)
    if not is_bound.any():
        return is_near

    def one_is_bound(left: Indices, right: Indices) -> Mask:
        return np.not_equal(is_bound[left], is_bound[right])

    for left, right in sketches.similar_pairs(one_is_bound):
        is_near[left] |= ~is_bound[left]
        is_near[right] |= ~is_bound[right]
    return is_near


def _splits_met(
    sketches: Sketches, is_near: Mask, splits: Sequence[str]
) -> Iterator[tuple[int, set[str]]]:
    """Yield each prompt of `is_near` with the splits of the prompts that it is like."""
    if not is_near.any():
        return

    def one_is_near(left: Indices, right: Indices) -> Mask:
        return np.not_equal(is_near[left], is_near[right])

    met: dict[int, set[str]] = defaultdict(set)
    for left, right in sketches.similar_pairs(one_is_near):
        for one, other in zip(left.tolist(), right.tolist(), strict=True):
            near, neighbour = (one, other) if is_near[one] else (other, one)
            met[near].add(splits[neighbour])
    yield from met.items()
