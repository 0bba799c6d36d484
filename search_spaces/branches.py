"""A branch: an axis together with the values of other axes under which it exists.

Tested in tests/unit/search_spaces/test_space.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, cast

from pydantic import Field

from search_spaces.axes import Axis, Checked, Choice, Scalar, axis_from_yaml
from search_spaces.errors import SpaceError, error_prefix

WHEN = "when"
T = TypeVar("T")


class Branch(Checked):
    """An axis that exists where every condition of `when` holds; always, if there is none."""

    axis: Axis
    when: dict[str, Choice] = Field(default_factory=dict)

    def active(self, point: Mapping[str, object]) -> bool:
        """Tell whether all conditions hold. An axis absent from `point` fulfils none."""
        return all(
            other in point and allowed.contains(point[other])
            for other, allowed in self.when.items()
        )

    def to_yaml(self) -> dict[str, Any]:
        """Return the form that `branches_from_yaml` reads."""
        when = {other: _alone(allowed.values) for other, allowed in self.when.items()}
        return self.axis.to_yaml() | ({WHEN: when} if when else {})


Branches: TypeAlias = tuple[Branch, ...]


def branches_from_yaml(form: object) -> Branches:
    """Read one branch from a mapping or a scalar, several from a list of mappings.

    Raises:
        SpaceError: the form is neither, or a branch breaks a rule.
    """
    if not isinstance(form, list | tuple):
        return (_branch(form),)
    if not all(isinstance(each, Mapping) for each in form):
        raise SpaceError(
            f"{form!r} must be a list of branches, each a mapping; "
            f"to choose among values, write choice: {list(form)}"
        )
    if not form:
        raise SpaceError("[] has no branch; write one, or drop the axis")
    return tuple(_branch(each) for each in form)


def branches_to_yaml(branches: Branches) -> Any:
    """Return the form that `branches_from_yaml` reads: a list only where there are several."""
    return _alone([branch.to_yaml() for branch in branches])


def draw_key(name: str, branch: Branch, siblings: Branches) -> str:
    """Return the name under which a sampler knows a branch; a name has one distribution for ever.

    Args:
        name: the axis.
        branch: one of its branches.
        siblings: all branches of that axis.

    Returns:
        The axis name if it has one branch, else as in `beta[length_norm=ld|none]`, with the values
        in a fixed order.
    """
    if len(siblings) == 1:
        return name
    [(other, allowed)] = branch.when.items()
    return f"{name}[{other}={'|'.join(sorted(map(_text, allowed.values)))}]"


def _branch(form: object) -> Branch:
    if not isinstance(form, Mapping) or WHEN not in form:
        return Branch(axis=axis_from_yaml(form))
    axis = axis_from_yaml({key: value for key, value in form.items() if key != WHEN})
    return Branch(axis=axis, when=_when(form[WHEN]))


def _when(form: object) -> dict[str, Choice]:
    if not isinstance(form, Mapping) or not form:
        raise SpaceError(f"when={form!r} must name other axes; write when: {{axis: value}}")
    return {other: _condition(other, values) for other, values in form.items()}


def _condition(other: object, values: object) -> Choice:
    with error_prefix(f"when {other}"):
        return Choice(values if isinstance(values, list | tuple) else [cast("Scalar", values)])


def _text(value: Scalar) -> str:
    """Return a text that differs for different values: the text `1` is quoted, the number is not."""
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w.-]*", value, re.ASCII)
    return str(value) if plain and value not in ("true", "false", "null") else json.dumps(value)


def _alone(items: Sequence[T]) -> T | list[T]:
    """Return the only item of a list, or the list."""
    return items[0] if len(items) == 1 else list(items)
