"""Finds which branches of a space can be active, and counts its points.

Only values that conditions look at matter. A case is one combination of those, with the number of
points that share it. Axes that no condition connects are counted apart and multiplied, so the work
grows with the conditions and not with the size of the space.

Tested in tests/unit/search_spaces/test_space.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from search_spaces.axes import Choice, Scalar
from search_spaces.branches import Branch, Branches
from search_spaces.errors import SpaceError

MAX_CASES = 100_000

Case: TypeAlias = tuple[tuple[str, Scalar], ...]


@dataclass(frozen=True)
class Survey:
    """The number of points, a range counted as one value, and each (axis, index of its branch) that can
    be active."""

    points: int
    reached: frozenset[tuple[str, int]]


def parents(branches: Branches) -> list[str]:
    """Return the axes that the conditions look at, each once, as written."""
    return list(dict.fromkeys(other for branch in branches for other in branch.when))


def survey(axes: Mapping[str, Branches]) -> Survey:
    """Survey `axes`, which must have parents before children.

    Raises:
        SpaceError: the conditions combine to more than MAX_CASES cases.
    """
    points, reached = 1, set[tuple[str, int]]()
    for group in _groups(axes):
        cases: Counter[Case] = Counter({(): 1})
        for i, name in enumerate(group):
            needed = {other for later in group[i + 1 :] for other in parents(axes[later])}
            cases = _step(cases, name, axes[name], needed, reached)
        points *= cases.total()
    return Survey(points, frozenset(reached))


def _step(
    cases: Counter[Case],
    name: str,
    branches: Branches,
    needed: set[str],
    reached: set[tuple[str, int]],
) -> Counter[Case]:
    """Give the axis `name` its values in every case; drop axes that no later condition looks at.

    Adds every branch that is active in some case to `reached`.
    """
    after: Counter[Case] = Counter()
    for case, points in cases.items():
        looked_at = tuple(item for item in case if item[0] in needed)
        active = next((i for i, each in enumerate(branches) if each.active(dict(case))), None)
        if active is None:
            after[looked_at] += points
            continue
        reached.add((name, active))
        for value in _values(branches[active]):
            after[(*looked_at, (name, value)) if name in needed else looked_at] += points
        _refuse_too_many(after, name)
    return after


def _values(branch: Branch) -> tuple[Scalar, ...]:
    # A range counts as one value: no condition can look at it.
    return branch.axis.values if isinstance(branch.axis, Choice) else (None,)


def _refuse_too_many(cases: Counter[Case], name: str) -> None:
    if len(cases) > MAX_CASES:
        raise SpaceError(
            f"{name}: the conditions on it and beside it combine to more than {MAX_CASES} cases; "
            "let fewer axes depend on each other"
        )


def _groups(axes: Mapping[str, Branches]) -> list[list[str]]:
    """Group the axes that conditions connect, directly or not; each group in the order of `axes`."""
    groups: list[set[str]] = []
    for name, branches in axes.items():
        related = {name, *parents(branches)}
        connected = [group for group in groups if group & related]
        groups = [group for group in groups if not group & related] + [related.union(*connected)]
    return [[name for name in axes if name in group] for group in groups]
