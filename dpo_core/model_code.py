"""Code that a model's folder ships: it runs only where the config allows it, and that is warned of.

Whoever lets a library load a model or a tokenizer takes `trust_remote_code` from `may_run_code`, so no
command runs such code without the warning. A command whose workers run it calls `warn_of_code` too,
since nobody reads their logs.

Tested in tests/unit/test_foreign_code.py.
"""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

from dpo_core.settings import ModelSettings

log = logging.getLogger("dpo_sweeps")


def may_run_code(settings: ModelSettings) -> bool:
    """Return whether code of the model may run, and warn of it where it may."""
    warn_of_code(settings)
    return settings.trust_remote_code


def warn_of_code(settings: ModelSettings) -> None:
    """Warn, once in a process, that code of the model runs; not where the config forbids it."""
    if settings.trust_remote_code:
        _warn(settings.path, settings.revision)


@cache
def _warn(path: str, revision: str | None) -> None:
    log.warning(
        f"model.trust_remote_code: code that ships with {_named(path, revision)} runs with all that "
        "this user and the sweep's workers may do and read"
    )


def _named(path: str, revision: str | None) -> str:
    if revision is not None:
        return f"{path} at revision {revision}"
    is_folder = path.startswith(("/", ".", "~")) or Path(path).is_dir()
    return path if is_folder else f"{path}, whatever its newest revision is (set model.revision),"
