"""The keys of a sweep's YAML by their full paths, and which of them an unknown key meant. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from functools import cache

from pydantic import BaseModel

from dpo_core.hyperparams import HYPERPARAM_NAMES
from dpo_core.refused_trl_fields import REFUSED_TRL_FIELDS
from sweeps.config.schema import SweepConfig

_FEW = 3
_NEAR_ELSEWHERE = 0.8
"""How like a key of another section must be: more than a sibling, since there are many more."""


def settings_in(annotation: object) -> type[BaseModel] | None:
    """Return the settings class of a field's annotation; None where the field is a plain value."""
    options = getattr(annotation, "__args__", (annotation,))
    models = (o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return next(models, None)


def describe_unknown_key(path: str) -> str:
    """Say that a key is unknown, and which one was meant.

    A key of another section is named by its full path, else the one of the same section that is
    spelled nearly alike, else one of another section that is.

    Args:
        path: The unknown key with those above it, as in `data.sources[0].wieght`.

    Returns:
        The rule and the way out.
    """
    section, _, name = re.sub(r"\[\d+\]", "[]", path).rpartition(".")
    return f"is an unknown key; {_advice(section, name)}"


def _advice(section: str, name: str) -> str:
    siblings = [key for key in _all_keys() if key.rpartition(".")[0] == section]
    meant = _called(name, section)
    if not meant and section == "training" and name in REFUSED_TRL_FIELDS:
        return REFUSED_TRL_FIELDS[name]
    meant = meant or _near(name, siblings, 0.6) or _near(name, _all_keys(), _NEAR_ELSEWHERE)
    if meant:
        return f"did you mean {_either(meant)}?"
    siblings_in_words = f"known are {', '.join(sorted(map(_leaf, siblings)))}"
    if section == "training":
        siblings_in_words += "; other fields of TRL's DPOConfig stand under training.trl"
    return siblings_in_words


@cache
def _all_keys() -> tuple[str, ...]:
    """Return the paths of all keys; one of a list's items has `[]` in it, and axes stand in `space`."""
    return (*_keys_of(SweepConfig), *(f"space.{name}" for name in HYPERPARAM_NAMES))


def _keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        inner = settings_in(field.annotation)
        if inner:
            items = "[]" if "list[" in str(field.annotation) else ""
            yield from _keys_of(inner, f"{prefix}{name}{items}.")


def _called(name: str, section: str) -> list[str]:
    """Return the keys of that very name, those of the same section of the sweep first."""
    top = section.partition(".")[0]
    same = [key for key in _all_keys() if _leaf(key) == name]
    return sorted(same, key=lambda key: key.partition(".")[0] != top)


def _near(name: str, keys: Iterable[str], cutoff: float) -> list[str]:
    """Return the keys whose name is spelled most like `name`, if any is like it."""
    keys = list(keys)
    nearest = difflib.get_close_matches(name, [*map(_leaf, keys)], n=1, cutoff=cutoff)
    return [key for key in keys if _leaf(key) in nearest]


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def _either(keys: list[str]) -> str:
    if len(keys) == 1:
        return keys[0]
    if len(keys) <= _FEW:
        return f"{', '.join(keys[:-1])} or {keys[-1]}"
    return f"{', '.join(keys[:_FEW])} or one of {len(keys) - _FEW} more"
