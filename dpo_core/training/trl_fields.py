"""Checks of `training.trl`, the fields that are passed through to TRL's DPOConfig, before any trial.

TRL itself would refuse a wrong value only in the workers, when each trial begins.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from enum import Enum
from typing import get_args

from pydantic import TypeAdapter, ValidationError

from dpo_core.errors import SettingsError
from dpo_core.refused_trl_fields import REFUSED_TRL_FIELDS
from dpo_core.training.trainer import trl_field_types
from dpo_core.wording import Expected, describe_unknown_name, describe_wrong_type

_EXPECTED: Mapping[type, Expected] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a mapping",
}


def check_trl_fields(trl: Mapping[str, object]) -> None:
    """Check names, types and choices of the fields. Raises SettingsError."""
    types = trl_field_types()
    for name, value in trl.items():
        complaint = _complaint(types[name], value) if name in types else _unknown(name)
        if complaint is not None:
            raise SettingsError(f"training.trl.{name}: {complaint}")


def _unknown(name: str) -> str:
    allowed = [each for each in trl_field_types() if each not in REFUSED_TRL_FIELDS]
    near = difflib.get_close_matches(name, allowed, n=1)
    way_out = f"did you mean {near[0]}?" if near else "give one that the installed TRL documents"
    return f"TRL's DPOConfig has no such field; {way_out}"


def _complaint(field_type: type, value: object) -> str | None:
    """Return why a field cannot have a value; None where it can."""
    options = get_args(field_type) or (field_type,)
    choices = [c.value for o in options if _is_choice(o) for c in o]
    if choices:
        return None if value in choices else describe_unknown_name(value, choices)
    try:
        TypeAdapter[object](field_type).validate_python(value, strict=True)
    except ValidationError:
        origins = (getattr(option, "__origin__", option) for option in options)
        expected: Expected = next((_EXPECTED[o] for o in origins if o in _EXPECTED), "text")
        return describe_wrong_type(value, expected)
    return None


def _is_choice(option: object) -> bool:
    return isinstance(option, type) and issubclass(option, Enum)
