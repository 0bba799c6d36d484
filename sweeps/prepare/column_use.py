"""The use of each source's columns, as JSON and as lines for a reader.

Tested in tests/unit/sweeps/preflight/test_audit.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from dpo_core.preferences.layouts.classification import ColumnUse
from sweeps.run_dir.json_types import ColumnUseJson


def column_use_json(use: ColumnUse) -> ColumnUseJson:
    """Return what became of a source's columns as audit.json has it."""
    return {
        "layout": use.layout,
        "sentence": use.sentence,
        "used": dict(use.used),
        "ignored": list(use.ignored),
    }


def column_lines(columns: Mapping[str, ColumnUseJson]) -> list[str]:
    """Return a line for each source: how it was read, what was used as what, what was ignored."""
    return [f"{source} {_sentence(use)}" for source, use in columns.items()]


def _sentence(use: ColumnUseJson) -> str:
    used = ", ".join(
        path if path == name else f"{path} as {name}" for path, name in use["used"].items()
    )
    ignored = f"; ignored: {', '.join(use['ignored'])}" if use["ignored"] else ""
    return f"is {use['sentence']}; used: {used}{ignored}"
