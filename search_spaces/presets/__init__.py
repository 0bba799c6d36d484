"""Spaces that come with the package, one YAML file each; every file says what it is for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import yaml

from search_spaces.errors import SpaceError, about
from search_spaces.space import Space

_SUFFIX = ".yaml"


def preset_names() -> tuple[str, ...]:
    """The names that `load_preset` knows, sorted."""
    names = (entry.name for entry in files(__name__).iterdir())
    return tuple(sorted(n.removesuffix(_SUFFIX) for n in names if n.endswith(_SUFFIX)))


def load_preset(name: str) -> Space:
    """The space of presets/<name>.yaml. Raises SpaceError, with all names, on an unknown one."""
    known = preset_names()
    if name not in known:
        raise SpaceError(
            f"preset: {name!r} is unknown; use one of {', '.join(known)}, "
            "or write the axes themselves"
        )
    text = files(__name__).joinpath(name + _SUFFIX).read_text(encoding="utf-8")
    with about(f"preset {name}"):
        return Space.parse(yaml.safe_load(text))


def load_space(spec: str | Mapping[str, Any] | Space) -> Space:
    """A preset by its name, a space written out as a mapping, or a space as it is.

    Raises SpaceError. In a pydantic model: `Annotated[Space, BeforeValidator(load_space)]`.
    """
    if isinstance(spec, Space):
        return spec
    return load_preset(spec) if isinstance(spec, str) else Space.parse(spec)
