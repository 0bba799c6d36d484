"""A space: named axes, some of which exist only for certain values of others.

    beta:
      - {log_uniform: [0.01, 0.5], when: {length_norm: none}}
      - {log_uniform: [1, 20], when: {length_norm: [mean, simpo]}}
    length_norm: {choice: [none, mean, simpo]}
    gamma_ratio: {uniform: [0.1, 0.8], when: {length_norm: simpo}}

A point is a dict of axis names to values; an axis that does not exist there is absent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

from search_spaces.axes import Axis, Checked, Choice, Scalar, describe
from search_spaces.branches import Branch, Branches, branches_from_yaml, branches_to_yaml, draw_key
from search_spaces.errors import SpaceError, error_prefix, suggestion
from search_spaces.reachability import parents, survey
from search_spaces.rules import check_axes, sampling_order


class Space(Checked):
    """A search space. Build it with `Space.parse`; equal spaces may differ in the order of axes."""

    axes: dict[str, Branches]

    def __init__(self, axes: Mapping[str, Branches]) -> None:
        check_axes(axes)
        super().__init__(axes=axes)

    @classmethod
    def parse(cls, form: Mapping[str, object]) -> Space:
        """Read the YAML form. Raises a SpaceError that names axis, value, rule and way out."""
        if not isinstance(form, Mapping):
            raise SpaceError(f"space: {form!r} must map axis names to axes; write name: axis")
        return cls({name: _named_branches(name, each) for name, each in form.items()})

    def to_yaml(self) -> dict[str, Any]:
        """Return the form that `parse` reads, axes as written."""
        return {name: branches_to_yaml(branches) for name, branches in self.axes.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the axes in sampling order: parents first, otherwise as written."""
        return sampling_order(self.axes)

    def sample(self, draw: Callable[[str, Axis], Scalar]) -> dict[str, Any]:
        """Return one point, calling `draw(key, axis)` once for each active axis, parents first.

        A key always comes with the same axis. Raises SpaceError if a drawn value is outside it.
        """
        point: dict[str, Any] = {}
        for name in self.names:
            branch = self._active(name, point)
            if branch is not None:
                value = draw(self._key(name, branch), branch.axis)
                _refuse(name, branch.axis.why_not(value))
                point[name] = value
        return point

    def keys_of(self, point: Mapping[str, object]) -> dict[str, Any]:
        """Return the values, by key, that `draw` must return for `sample` to return `point`.

        Raises:
            SpaceError: `point` is not in the space.
        """
        complaint = self.why_not(point)
        if complaint is not None:
            raise SpaceError(complaint)
        active = {name: self._active(name, point) for name in self.names}
        return {self._key(n, branch): point[n] for n, branch in active.items() if branch}

    def axis_of_keys(self) -> dict[str, Axis]:
        """Return every key that `draw` can be called with, and its axis."""
        return {
            self._key(name, branch): branch.axis
            for name in self.names
            for branch in self.axes[name]
        }

    def contains(self, point: Mapping[str, object]) -> bool:
        """Tell whether `point` has exactly the axes that exist there, each with a value inside."""
        return self.why_not(point) is None

    def why_not(self, point: Mapping[str, object]) -> str | None:
        """Return the first reason why `point` is outside, or None if it is inside."""
        for name in point:
            if name not in self.axes:
                return f"point: {name!r} is no axis of this space; {suggestion(name, self.axes)}"
        complaints = (self._complaint(name, point) for name in self.names)
        return next((each for each in complaints if each is not None), None)

    @property
    def is_conditional(self) -> bool:
        """Tell whether an axis exists, or has its range, only for certain values of another."""
        return any(branch.when for branches in self.axes.values() for branch in branches)

    @property
    def size(self) -> int | None:
        """The number of points if every axis is a choice, else None."""
        if not all(isinstance(b.axis, Choice) for each in self.axes.values() for b in each):
            return None
        return survey({name: self.axes[name] for name in self.names}).points

    def points(self) -> Iterator[dict[str, Any]]:
        """Yield every point once. Raises SpaceError where an axis is a range."""
        if self.size is None:
            raise SpaceError("space: a range has too many points to list; make every axis a choice")
        yield from self._completed({}, self.names)

    def fingerprint(self) -> str:
        """Return the SHA-256 in hex of all keys, axes and conditions.

        The order of axes does not change it. The order of a choice does: a study stores a choice by
        its position.
        """
        content = {
            self._key(name, branch): [branch.axis.to_yaml(), _unordered(branch)]
            for name, branches in self.axes.items()
            for branch in branches
        }
        return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _completed(self, point: dict[str, Any], names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield every point that `point` becomes when it is given the axes of `names`."""
        if not names:
            yield point
            return
        branch = self._active(names[0], point)
        if branch is None:
            yield from self._completed(point, names[1:])
        elif isinstance(branch.axis, Choice):
            for value in branch.axis.values:
                yield from self._completed({**point, names[0]: value}, names[1:])

    def _active(self, name: str, point: Mapping[str, object]) -> Branch | None:
        return next((branch for branch in self.axes[name] if branch.active(point)), None)

    def _key(self, name: str, branch: Branch) -> str:
        return draw_key(name, branch, self.axes[name])

    def _complaint(self, name: str, point: Mapping[str, object]) -> str | None:
        branch = self._active(name, point)
        if branch is None:
            return self._value_of_inactive_axis(name, point) if name in point else None
        if name not in point:
            return f"{name}: is missing; give a value in {describe(branch.axis)}"
        complaint = branch.axis.why_not(point[name])
        return None if complaint is None else f"{name}: {complaint}"

    def _value_of_inactive_axis(self, name: str, point: Mapping[str, object]) -> str:
        seen = ", ".join(
            f"{other}={point[other]!r}" if other in point else f"no {other}"
            for other in parents(self.axes[name])
        )
        return f"{name}: {point[name]!r} is given, but the axis does not exist with {seen}; drop it"


def _named_branches(name: object, form: object) -> Branches:
    with error_prefix(str(name)):
        return branches_from_yaml(form)


def _refuse(name: str, complaint: str | None) -> None:
    if complaint is not None:
        raise SpaceError(f"{name}: {complaint}")


def _unordered(branch: Branch) -> dict[str, list[str]]:
    return {other: sorted(map(json.dumps, each.values)) for other, each in branch.when.items()}
