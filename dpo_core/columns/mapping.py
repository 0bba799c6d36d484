"""The meaning of the columns of a row: the value of `data.columns`, checked.

    {prompt: question, system: system, chosen: chosen, rejected: rejected}
    {prompt: history, a: human_ref_A, b: human_ref_B, winner: {column: labels, a: 1, b: 0}}
    {prompt: instruction, responses: completions[].response, scores: completions[].overall_score}

Tested in tests/unit/dpo_core/columns/test_mapping.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import yaml

from dpo_core.columns.paths import ColumnPath

Shape = Literal["pairs", "votes", "rankings", "scored", "labelled", "golden"]
Reading = Literal["as_is", "dialogue", "nemo_dialogue", "turns"]

SHAPES: dict[Shape, tuple[frozenset[str], ...]] = {
    "pairs": (frozenset({"chosen", "rejected"}),),
    "votes": (frozenset({"a", "b", "winner"}),),
    "rankings": (frozenset({"responses", "scores"}), frozenset({"responses", "ranks"})),
    "scored": (frozenset({"response", "score"}),),
    "labelled": (frozenset({"response", "label"}),),
    "golden": (frozenset({"golden"}),),
}
"""The fields that tell what rows are. Of `scored` and `labelled` rows, each holds one response."""
OPTIONAL = (
    "prompt",
    "system",
    "history",
    "tools",
    "chat_template_kwargs",
    "category",
    "annotator",
    "weight",
    "margin",
)
IGNORE = "ignore"
_READINGS: tuple[Reading, ...] = ("as_is", "dialogue", "nemo_dialogue", "turns")
_TELLING = [
    *dict.fromkeys(name for sets in SHAPES.values() for each in sets for name in sorted(each))
]
FIELDS = (*OPTIONAL, *_TELLING, IGNORE)
_COMPARISON = re.compile(r"([<>]=?)\s*(-?\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Columns:
    """One column, or several whose texts are joined by line breaks, or in lists become one list."""

    paths: tuple[ColumnPath, ...]
    reading: Reading = "as_is"
    """`dialogue`: a text of Human/Assistant turns. `nemo_dialogue`: a text in which `<extra_id_1>User`
    and `<extra_id_1>Assistant` begin later turns. `turns`: a list of strings, those of the user in
    prompts and those of the assistant in answers; of two columns of a prompt, the second has the answers
    between the questions of the first."""

    @property
    def is_all_turns(self) -> bool:
        """Return whether a prompt is the questions of a conversation whose answers are elsewhere."""
        return self.reading == "turns" and len(self.paths) == 1


@dataclass(frozen=True)
class Constant:
    """The same value in every row."""

    value: object


@dataclass(frozen=True)
class Condition:
    """A test of a value: that it is equal to `value`, or beyond it for a comparison like `< 0`."""

    value: object
    comparison: str = ""

    def holds(self, value: object) -> bool:
        """Return whether the test holds; texts of numbers and of true and false count as these."""
        if not self.comparison:
            if isinstance(self.value, int | float) and not isinstance(self.value, bool):
                return _number(value) == self.value
            return value == self.value or _text(value) == _text(self.value)
        number = _number(value)
        limit = float(str(self.value))
        return {
            "<": number < limit,
            "<=": number <= limit,
            ">": number > limit,
            ">=": number >= limit,
        }[self.comparison]


@dataclass(frozen=True)
class Choice:
    """A column whose value names an outcome."""

    path: ColumnPath
    outcomes: Mapping[str, tuple[Condition, ...]]
    """The tests of each outcome, such as `a`, `b` and `tie`; one of them must hold."""

    def outcome(self, value: object) -> str | None:
        """Return the outcome that a value names, or None if it names none."""
        for name, tests in self.outcomes.items():
            if any(test.holds(value) for test in tests):
                return name
        return None


Field = Columns | Constant | Choice


@dataclass(frozen=True)
class ColumnMapping:
    """The meaning of columns, and the shape of the rows that they make."""

    shape: Shape
    fields: Mapping[str, Field]
    ignored: frozenset[str] = field(default=frozenset())
    """Columns that are knowingly not used."""

    @classmethod
    def parse(cls, columns: Mapping[str, object]) -> ColumnMapping:
        """Read the value of `data.columns`. Raises ValueError, whose message names the field."""
        unknown = [name for name in columns if name not in FIELDS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is none of {', '.join(FIELDS)}")
        shape = _shape(columns)
        fields = {name: _field(name, value) for name, value in columns.items() if name != IGNORE}
        return cls(shape, fields, ignored_columns(columns))

    @property
    def paths(self) -> dict[str, tuple[ColumnPath, ...]]:
        """Return the paths of each field that has any."""
        return {
            name: each.paths if isinstance(each, Columns) else (each.path,)
            for name, each in self.fields.items()
            if not isinstance(each, Constant)
        }

    def as_formatted(self) -> ColumnMapping:
        """Return the mapping for texts that are already formatted, which are read as such later."""
        fields = {
            name: replace(each, reading="as_is")
            if isinstance(each, Columns) and each.reading in ("dialogue", "nemo_dialogue")
            else each
            for name, each in self.fields.items()
        }
        return replace(self, fields=fields)

    @property
    def required(self) -> tuple[str, ...]:
        """Return the fields without which a row makes nothing."""
        return tuple(name for name in self.fields if name in _TELLING or name == "prompt")


def in_yaml(columns: Mapping[str, object]) -> str:
    """Return the value of `data.columns` as one line of YAML."""
    text: str = yaml.safe_dump(
        dict(columns), default_flow_style=True, width=math.inf, sort_keys=False, allow_unicode=True
    )
    return text.strip()


def ignored_columns(columns: Mapping[str, object]) -> frozenset[str]:
    """Return the columns that `ignore` lists. Raises ValueError if it is no list of names."""
    return frozenset(_names(columns[IGNORE])) if IGNORE in columns else frozenset()


def names_fields(columns: Mapping[str, object] | None) -> bool:
    """Return whether the value of `data.columns` says more than which columns to ignore."""
    return columns is not None and set(columns) != {IGNORE}


def _shape(columns: Mapping[str, object]) -> Shape:
    telling = {name for name in columns if name in _TELLING}
    for shape, alternatives in SHAPES.items():
        if telling in alternatives:
            return shape
    raise ValueError(
        f"{', '.join(sorted(telling)) or 'nothing'} makes no pairs; give chosen and rejected, or a, b "
        "and winner, or responses and scores (or ranks), or response and label (or score), or golden"
    )


def _field(name: str, value: object) -> Field:
    try:
        if name in ("winner", "label"):
            return _choice(name, value)
        if isinstance(value, Mapping):
            return _described(value)
        paths = tuple(ColumnPath.parse(each) for each in _names(value))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return Columns(paths)


def _described(value: Mapping[str, object]) -> Field:
    if set(value) == {"constant"}:
        return Constant(value["constant"])
    if "column" not in value or not set(value) <= {"column", "read"}:
        raise ValueError(
            f"{dict(value)} must be {{column: …}}, with `read` if you like, or {{constant: …}}"
        )
    paths = tuple(ColumnPath.parse(each) for each in _names(value["column"]))
    for reading in _READINGS:
        if reading == value.get("read", "as_is"):
            return Columns(paths, reading)
    raise ValueError(f"read: {value['read']!r} is none of {', '.join(_READINGS)}")


def _choice(name: str, value: object) -> Choice:
    expected = {"winner": ("a", "b", "tie"), "label": ("good", "bad", "tie")}[name]
    if name == "label" and isinstance(value, str):
        value = {"column": value, "good": [True, 1], "bad": [False, 0]}
    required = {"column", *expected[:2]}
    if not isinstance(value, Mapping) or not required <= set(value) <= {*required, "tie"}:
        raise ValueError(
            f"{value!r} must be {{column: …, {expected[0]}: …, {expected[1]}: …}}: the column, and the "
            f"value of it that means each; `tie` may list values that decide nothing"
        )
    outcomes = {each: _tests(value[each]) for each in expected if each in value}
    return Choice(ColumnPath.parse(str(value["column"])), outcomes)


def _tests(value: object) -> tuple[Condition, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(map(_test, values))


def _test(value: object) -> Condition:
    match = _COMPARISON.fullmatch(value.strip()) if isinstance(value, str) else None
    return Condition(float(match[2]), match[1]) if match else Condition(value)


def _names(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    wrong = [each for each in values if not isinstance(each, str)]
    if wrong or not values:
        raise ValueError(f"{value!r} must be the name of a column, or a list of such names")
    return [str(each) for each in values]


def _text(value: object) -> str:
    """Return the value as a CSV file might write it."""
    return str(value).lower()


def _number(value: object) -> float:
    """Return the number that a value or its text is; of anything else, one that no test holds for."""
    try:
        return float(value) if isinstance(value, int | float | str) else math.nan
    except ValueError:
        return math.nan
