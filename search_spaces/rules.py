"""Rules between the axes of a space. Each raises a SpaceError with value, rule and way out.

Tested in tests/unit/search_spaces/test_space.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import combinations

from search_spaces.axes import Choice, Scalar, describe
from search_spaces.branches import Branch, Branches
from search_spaces.errors import SpaceError, error_prefix, suggestion
from search_spaces.reachability import parents, survey


def check_axes(axes: Mapping[str, Branches]) -> None:
    """Check every rule in turn; raise a SpaceError at the first that is broken."""
    if not axes:
        raise SpaceError("space: {} has no axis; give at least one, such as learning_rate")
    for name, branches in axes.items():
        with error_prefix(str(name)):
            _check_name(name)
            _check_conditions(name, branches, axes)
            _check_siblings(branches)
    _check_cycles(axes)
    _check_reachable(axes)


def sampling_order(axes: Mapping[str, Branches]) -> tuple[str, ...]:
    """Order axes so that each can be sampled when those that it depends on have a value.

    Args:
        axes: The branches of each axis; their conditions must have no cycle.

    Returns:
        The names of the axes, parents before children, otherwise as written.
    """
    order: list[str] = []
    while len(order) < len(axes):
        order.append(next(n for n in axes if n not in order and {*parents(axes[n])} <= {*order}))
    return tuple(order)


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name.isidentifier():
        raise SpaceError(
            f"{name!r} must be a name of letters, digits and _, not starting with a digit; "
            "rename the axis"
        )


def _check_conditions(name: str, branches: Branches, axes: Mapping[str, Branches]) -> None:
    for branch in branches:
        for other, allowed in branch.when.items():
            if other not in axes:
                raise SpaceError(_unknown(other, [each for each in axes if each != name]))
            _check_possible(other, allowed, _choices(other, axes[other]))


def _check_possible(other: str, allowed: Choice, choices: Choice) -> None:
    for value in allowed.values:
        if not choices.contains(value):
            raise SpaceError(
                f"when {other}: {value!r} is not among the choices of {other}; "
                f"use one of {list(choices.values)}, or add it to {other}"
            )


def _unknown(other: object, options: list[str]) -> str:
    return f"when {other}: there is no axis {other!r}; " + (
        suggestion(other, options) if options else "add it, or drop the condition"
    )


def _choices(other: str, branches: Branches) -> Choice:
    """Return all values that `other` can take over its branches."""
    values: dict[Scalar, None] = {}
    for branch in branches:
        if not isinstance(branch.axis, Choice):
            raise SpaceError(
                f"when {other}: {other} is {describe(branch.axis)}, and a condition must be "
                f'on a "choice" axis; make {other} a choice, or drop the condition'
            )
        values |= dict.fromkeys(branch.axis.values)
    return Choice(list(values))


def _check_siblings(branches: Branches) -> None:
    if len(branches) == 1:
        return
    for number, branch in enumerate(branches, 1):
        if len(branch.when) != 1:
            raise SpaceError(
                f"branch {number} has conditions on {list(branch.when) or 'no axis'}, and each "
                "of several branches needs exactly one; write when: {axis: value}"
            )
    others = parents(branches)
    if len(others) > 1:
        raise SpaceError(
            f"branches have conditions on different axes, {' and '.join(others)}; "
            "use the same axis in each"
        )
    for (i, a), (j, b) in combinations(enumerate(branches, 1), 2):
        _check_disjoint(others[0], (i, a), (j, b))


def _check_disjoint(other: str, one: tuple[int, Branch], two: tuple[int, Branch]) -> None:
    (i, a), (j, b) = one, two
    for value in a.when[other].values:
        if b.when[other].contains(value):
            raise SpaceError(
                f"branches {i} and {j} overlap at {other}={value!r}; "
                "let each value belong to one branch"
            )


def _check_cycles(axes: Mapping[str, Branches]) -> None:
    try:
        TopologicalSorter({name: parents(branches) for name, branches in axes.items()}).prepare()
    except CycleError as error:
        # graphlib lists parents first; a reader follows "when" from child to parent.
        cycle = list(reversed(error.args[1]))
        raise SpaceError(
            f"{cycle[0]}: conditions form a cycle, {' -> '.join(cycle)}; drop one of the conditions"
        ) from None


def _check_reachable(axes: Mapping[str, Branches]) -> None:
    reached = survey({name: axes[name] for name in sampling_order(axes)}).reached
    for name, branches in axes.items():
        for i, branch in enumerate(branches):
            if (name, i) not in reached:
                raise SpaceError(
                    f"{name}: branch {i + 1} can never be active, as nothing fulfils "
                    f"when {branch.to_yaml()['when']}; change its conditions, or drop it"
                )
