"""Turns what pydantic refuses in a sweep's YAML into lines in our words: key, value, rule, way out.

pydantic's own sentences name Python's types and classes, which mean nothing to the author of YAML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from dpo_core.wording import Expected, describe_unknown_name, describe_wrong_type, shown
from sweeps.config.keys import describe_unknown_key, settings_in
from sweeps.config.schema import SweepConfig

_EXPECTED: Mapping[str, Expected] = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}
_BOUNDS = {
    "greater_than": ("gt", "is too small; give more than"),
    "greater_than_equal": ("ge", "is too small; give at least"),
    "less_than": ("lt", "is too large; give less than"),
    "less_than_equal": ("le", "is too large; give at most"),
}
# What pydantic puts into a location for an alternative of a type, which is no key.
_ALTERNATIVE = re.compile(r"str|\w+\[.*\]")


def describe_mistakes(error: ValidationError, source: str) -> Iterator[str]:
    """Yield one line for each mistake in a sweep's YAML; `source` is the file's name."""
    problems: dict[str, list[tuple[ErrorDetails, FieldInfo | None]]] = {}
    for problem in error.errors(include_url=False):
        key, field = _located(problem)
        problems.setdefault(key, []).append((problem, field))
    alternatives = {
        key for key in problems if any(other.startswith(f"{key}[") for other in problems)
    }
    for key, those in problems.items():
        if key in alternatives:
            continue  # a list was written where text could stand too; its items say what is wrong
        subject = f"{source}: {key}: " if key else f"{source}: "
        yield subject + _described(key, *those[0], [problem for problem, _ in those[1:]])


def _located(problem: ErrorDetails) -> tuple[str, FieldInfo | None]:
    """Return the key that a problem is about, by its full path, and its field."""
    key = ""
    annotation: object = SweepConfig
    field: FieldInfo | None = None
    unknown = problem["type"] == "extra_forbidden"
    loc = problem["loc"]
    for position, part in enumerate(loc):
        model = settings_in(annotation)
        if isinstance(part, int):
            key += f"[{part}]"
        elif model and part in model.model_fields:
            field = model.model_fields[part]
            annotation = field.annotation
            key += f".{part}"
        elif not _ALTERNATIVE.fullmatch(part) or (unknown and position == len(loc) - 1):
            key += f".{part}"
    return key.removeprefix("."), field


def _described(
    key: str, problem: ErrorDetails, field: FieldInfo | None, others: Iterable[ErrorDetails]
) -> str:
    """Return rule and way out of one problem; `others` are about the same key."""
    kind, value, context = problem["type"], problem["input"], problem.get("ctx", {})
    is_optional = field is not None and not field.is_required()
    example = next(iter((field and field.examples) or ()), None)
    if kind == "value_error":
        return problem["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        return describe_unknown_key(key)
    if kind == "missing":
        return "is missing and has no default; add it"
    if kind in _EXPECTED:
        message = describe_wrong_type(value, _EXPECTED[kind], example)
        message += _keys_of_mapping(field) if kind == "model_type" else ""
        message += "".join(f", or {_EXPECTED[o['type']]}" for o in others if o["type"] in _EXPECTED)
        return message + (", or leave the key out" if value is None and is_optional else "")
    if kind in _BOUNDS:
        name, rule = _BOUNDS[kind]
        return f"{shown(value)} {rule} {context[name]:g}"
    if kind == "literal_error":
        names = re.findall(r"'([^']*)'", context["expected"])
        is_nullable = field is not None and type(None) in get_args(field.annotation)
        return describe_unknown_name(value, names, ", or null" if is_nullable else "")
    if kind == "finite_number":
        return f"{shown(value)} is not finite; write a finite number"
    if kind in ("string_too_short", "too_short"):
        what = "text" if isinstance(value, str) else "list"
        return f"the {what} is empty; write one" + (", or leave the key out" if is_optional else "")
    if kind == "string_pattern_mismatch" and field is not None:
        return f'{shown(value)} is no {field.description}; write one such as "{example}"'
    return f"{shown(value)} is refused ({problem['msg']}); see the key's documentation"


def _keys_of_mapping(field: FieldInfo | None) -> str:
    model: type[BaseModel] | None = settings_in(field.annotation) if field else None
    return f" with any of the keys {', '.join(model.model_fields)}" if model else ""
