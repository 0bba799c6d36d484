"""Search spaces: axes, conditions between them, and presets. Knows nothing of training or sweeps."""

from search_spaces.axes import Axis, Choice, LogUniform, Uniform
from search_spaces.errors import SpaceError
from search_spaces.presets import load_preset, load_space, preset_names
from search_spaces.space import Space

__all__ = [
    "Axis",
    "Choice",
    "LogUniform",
    "Space",
    "SpaceError",
    "Uniform",
    "load_preset",
    "load_space",
    "preset_names",
]
