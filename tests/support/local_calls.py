"""Remote calls that run here, and the config for them."""

from __future__ import annotations

import json
from typing import Any

from sweeps.config.load import parse_sweep
from sweeps.config.schema import SweepConfig
from sweeps.run_dir.paths import SweepPaths


def config_of(paths: SweepPaths, **selection: Any) -> SweepConfig:
    """Return the config of a run directory with few and short answers, or other settings."""
    settings = {"sample_prompts": 3, "sample_tokens": 6, **selection}
    overrides = [f"selection.{name}={json.dumps(value)}" for name, value in settings.items()]
    text = paths.store.read(paths.config).decode()
    return parse_sweep(text, source="config.yaml", overrides=overrides)


class Calls:
    """Runs what a worker would run, here, and counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, function: Any, *arguments: Any) -> Any:
        self.count += 1
        return function(*arguments)
