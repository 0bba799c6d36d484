"""The three kinds of axis: LogUniform, Uniform, Choice. Each is frozen and checks itself.

>>> LogUniform(0.01, 0.5).to_yaml()
{'log_uniform': [0.01, 0.5]}
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias, TypeGuard

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from search_spaces.errors import SpaceError, one_line, suggestion

Scalar: TypeAlias = str | int | float | bool | None


class Checked(BaseModel):
    """A frozen model that raises a SpaceError of one line instead of pydantic's error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **fields: object) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise SpaceError(one_line(error)) from None


class _Range(Checked):
    """All floats from `low` to `high`, both included, in the unit of the hyperparameter."""

    kind: ClassVar[str]
    low: float
    high: float

    @field_validator("low", "high", mode="before")
    @classmethod
    def _is_number(cls, value: object, info: ValidationInfo) -> object:
        if is_number(value):
            return value
        raise ValueError(
            f"{info.field_name}={value!r} must be a finite number; write it like 0.1 or 1.0e-5"
        )

    @model_validator(mode="after")
    def _is_ordered(self) -> _Range:
        if self.low >= self.high:
            raise ValueError(
                f"low={self.low} must be < high={self.high}; swap them, "
                "or write the value alone to fix it"
            )
        return self

    def contains(self, value: object) -> bool:
        """Tell whether `value` is a number within the bounds; True and False are not numbers."""
        return is_number(value) and self.low <= value <= self.high

    def why_not(self, value: object) -> str | None:
        """Return why `value` is outside, or None if it is inside."""
        if not is_number(value):
            return f"{value!r} is not a finite number; give one in {describe(self)}"
        if not self.contains(value):
            return f"{value!r} lies outside; give one in {describe(self)}"
        return None

    def to_yaml(self) -> dict[str, Any]:
        """Return the form that `axis_from_yaml` reads."""
        return {self.kind: [self.low, self.high]}


class LogUniform(_Range):
    """A range that is searched evenly in the logarithm; `low` must be above 0."""

    kind: ClassVar[str] = "log_uniform"

    # Defined in each class, since type checkers do not see that a pydantic model inherits it.
    def __init__(self, low: float, high: float) -> None:
        super().__init__(low=low, high=high)

    @model_validator(mode="after")
    def _is_positive(self) -> LogUniform:
        if self.low <= 0:
            raise ValueError(f'low={self.low} must be > 0 on a log axis; raise it or use "uniform"')
        return self


class Uniform(_Range):
    """A range that is searched evenly."""

    kind: ClassVar[str] = "uniform"

    def __init__(self, low: float, high: float) -> None:
        super().__init__(low=low, high=high)


class Choice(Checked):
    """A few values without an order: text, numbers, true, false or null."""

    kind: ClassVar[str] = "choice"
    values: tuple[Scalar, ...]

    def __init__(self, values: list[Scalar] | tuple[Scalar, ...]) -> None:
        super().__init__(values=values)

    @field_validator("values", mode="before")
    @classmethod
    def _are_scalars(cls, values: object) -> object:
        if not isinstance(values, list | tuple):
            raise ValueError(f"choice={values!r} must be a list; write choice: [a, b]")
        if not values:
            raise ValueError("choice=[] must hold at least one value; add one, or drop it")
        for value in values:
            if not is_scalar(value):
                raise ValueError(
                    f"choice value {value!r} must be text, a finite number, true, false or null; "
                    "write each value alone"
                )
        return values

    @field_validator("values")
    @classmethod
    def _are_unique(cls, values: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
        # By Python's equality (1 == 1.0 == True), with which samplers look up a choice.
        for i, value in enumerate(values):
            if value in values[:i]:
                first = values[values.index(value)]
                raise ValueError(
                    f"choice value {value!r} equals {first!r} before it; keep one of them"
                )
        return values

    def contains(self, value: object) -> bool:
        """Tell whether `value` is one of the choices; 1 equals 1.0 and does not equal true."""
        return any(_same(value, choice) for choice in self.values)

    def why_not(self, value: object) -> str | None:
        """Return why `value` is no choice, or None if it is one."""
        if self.contains(value):
            return None
        return f"{value!r} is not among the choices; give one of {list(self.values)}"

    def to_yaml(self) -> dict[str, Any]:
        """Return the form that `axis_from_yaml` reads."""
        return {self.kind: list(self.values)}


Axis: TypeAlias = LogUniform | Uniform | Choice

KINDS = (LogUniform.kind, Uniform.kind, Choice.kind)


def axis_from_yaml(form: object) -> Axis:
    """Read `{log_uniform: [low, high]}`, `{uniform: [low, high]}`, `{choice: [a, b]}` or a scalar.

    A scalar is a choice of one. Raises SpaceError.
    """
    if not isinstance(form, Mapping):
        return Choice([_scalar(form)])
    for kind in form:
        if kind not in KINDS:
            raise SpaceError(f"{kind!r} is no kind of axis; {suggestion(kind, KINDS)}")
    if len(form) != 1:
        kinds = " and ".join(form) or "no kind"
        raise SpaceError(f"{kinds} given, but an axis has exactly one kind; use one of {_kinds()}")
    [(kind, content)] = form.items()
    if kind == Choice.kind:
        return Choice(content)
    return (LogUniform if kind == LogUniform.kind else Uniform)(*_bounds(kind, content))


def describe(axis: Axis | _Range) -> str:
    """Return the axis as messages show it, as in `log_uniform [0.01, 0.5]`."""
    [(kind, content)] = axis.to_yaml().items()
    return f"{kind} {content}"


def is_number(value: object) -> TypeGuard[int | float]:
    """Tell whether `value` is a finite int or float; a bool is not, nor an int beyond floats."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -sys.float_info.max <= value <= sys.float_info.max


def is_scalar(value: object) -> TypeGuard[Scalar]:
    """Tell whether a choice may hold `value`."""
    return value is None or isinstance(value, str | bool) or is_number(value)


def _same(a: object, b: object) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def _kinds() -> str:
    return ", ".join(KINDS)


def _scalar(form: object) -> Scalar:
    if is_scalar(form):
        return form
    raise SpaceError(f"{form!r} is no axis; write one value, or one of {_kinds()}")


def _bounds(kind: str, content: object) -> tuple[Any, Any]:
    if isinstance(content, list | tuple) and len(content) == 2:
        return content[0], content[1]
    raise SpaceError(f"{kind}={content!r} must be two numbers; write {kind}: [low, high]")
