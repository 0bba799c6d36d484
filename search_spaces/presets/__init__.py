"""Presets: spaces that ship with the package, one YAML file each, which says what it is for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

import yaml

from search_spaces.errors import SpaceError, error_prefix
from search_spaces.space import Space

_SUFFIX = ".yaml"


def preset_names() -> tuple[str, ...]:
    """List the presets.

    Returns:
        Their names, sorted.
    """
    names = (entry.name for entry in files(__name__).iterdir())
    return tuple(sorted(n.removesuffix(_SUFFIX) for n in names if n.endswith(_SUFFIX)))


def load_preset(name: str) -> Space:
    """Load the space of presets/<name>.yaml.

    Raises:
        SpaceError: there is no such preset; the message has all names.
    """
    names = preset_names()
    if name not in names:
        raise SpaceError(
            f"preset: {name!r} is unknown; use one of {', '.join(names)}, "
            "or write the axes themselves"
        )
    text = files(__name__).joinpath(name + _SUFFIX).read_text(encoding="utf-8")
    with error_prefix(f"preset {name}"):
        return Space.parse(yaml.safe_load(text))


def load_space(spec: str | Mapping[str, object] | Space) -> Space:
    """Return a space, given the name of a preset, a mapping of axes, or a space.

    Raises SpaceError. In a pydantic model: `Annotated[Space, BeforeValidator(load_space)]`.
    """
    if isinstance(spec, Space):
        return spec
    return load_preset(spec) if isinstance(spec, str) else Space.parse(spec)
