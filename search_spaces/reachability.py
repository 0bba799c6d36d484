"""Walks over every combination of values that conditions look at: what can exist, and how often.

A world is one such combination, with the number of points that share it. Axes that no condition
ties together are walked apart, so the work grows with the conditions and not with the space.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from search_spaces.axes import Choice, Scalar
from search_spaces.branches import Branch, Branches
from search_spaces.errors import SpaceError

MAX_WORLDS = 100_000

World: TypeAlias = tuple[tuple[str, Scalar], ...]


@dataclass(frozen=True)
class Survey:
    """`points`: combinations, a range counted as one; `reached`: (axis, index of its branch)."""

    points: int
    reached: frozenset[tuple[str, int]]


def parents(branches: Branches) -> list[str]:
    """The axes that the conditions look at, each once, as written."""
    return list(dict.fromkeys(other for branch in branches for other in branch.when))


def survey(axes: Mapping[str, Branches]) -> Survey:
    """Walk `axes`, given parents first. Raises SpaceError above MAX_WORLDS worlds at once."""
    points, reached = 1, set[tuple[str, int]]()
    for group in _groups(axes):
        worlds: Counter[World] = Counter({(): 1})
        for i, name in enumerate(group):
            needed = {other for later in group[i + 1 :] for other in parents(axes[later])}
            worlds = _step(worlds, name, axes[name], needed, reached)
        points *= worlds.total()
    return Survey(points, frozenset(reached))


def _step(
    worlds: Counter[World],
    name: str,
    branches: Branches,
    needed: set[str],
    reached: set[tuple[str, int]],
) -> Counter[World]:
    """Give `name` its values in every world, then forget what no later condition looks at."""
    after: Counter[World] = Counter()
    for world, points in worlds.items():
        kept = tuple(item for item in world if item[0] in needed)
        active = next((i for i, each in enumerate(branches) if each.active(dict(world))), None)
        if active is None:
            after[kept] += points
            continue
        reached.add((name, active))
        for value in _values(branches[active]):
            after[(*kept, (name, value)) if name in needed else kept] += points
        _refuse_too_many(after, name)
    return after


def _values(branch: Branch) -> tuple[Scalar, ...]:
    # A range counts as one value: no condition can look at it.
    return branch.axis.values if isinstance(branch.axis, Choice) else (None,)


def _refuse_too_many(worlds: Counter[World], name: str) -> None:
    if len(worlds) > MAX_WORLDS:
        raise SpaceError(
            f"{name}: the conditions on it and beside it combine to more than {MAX_WORLDS} cases; "
            "let fewer axes depend on each other"
        )


def _groups(axes: Mapping[str, Branches]) -> list[list[str]]:
    """Axes tied by conditions, directly or not; each group in the order of `axes`."""
    groups: list[set[str]] = []
    for name, branches in axes.items():
        own = {name, *parents(branches)}
        tied = [group for group in groups if group & own]
        groups = [group for group in groups if not group & own] + [own.union(*tied)]
    return [[name for name in axes if name in group] for group in groups]
