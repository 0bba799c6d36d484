"""The worked example: pharmacy pairs that ship with the package, and answers before and after."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

from rich.markup import escape
from rich.table import Table

from sweeps.config.load import parse_sweep
from sweeps.config.schema import SweepConfig
from sweeps.run_dir.answers import name_of, read_answers
from sweeps.run_dir.paths import SweepPaths
from sweeps.selection.verdict import REFERENCE

_QUESTIONS = 3


def demo_config(storage: str, overrides: Iterable[str]) -> SweepConfig:
    """demo.yaml with the packaged pairs."""
    folder = files("sweeps.demo")
    text = (folder / "demo.yaml").read_text(encoding="utf-8")
    given = [f"storage={_quoted(storage)}", f"data.path={_quoted(str(folder / 'pharmacy.jsonl'))}"]
    return parse_sweep(text, source="demo.yaml", overrides=[*given, *overrides])


def _quoted(text: str) -> str:
    # Not in ASCII: JSON would write an emoji as two escaped halves, which YAML refuses.
    return json.dumps(text, ensure_ascii=False)


def side_by_side(paths: SweepPaths, selection: Mapping[str, Any], console: Any) -> None:
    """Print three held-out questions, answered by the base model and by the winner."""
    told, winner = read_answers(paths), selection["winner"]
    place = winner["trial"], winner["step"]
    by = [told["by"].get(whom, []) for whom in (REFERENCE, name_of(place))]
    table = Table(title="held-out questions", show_lines=True)
    for column in ("question", "base model", f"winner {winner['trial']}"):
        table.add_column(column, ratio=1)
    for row, *said in list(zip(told.get("prompts", []), *by, strict=False))[:_QUESTIONS]:
        texts = (row["prompt"][-1]["content"], *(answer["text"] for answer in said))
        table.add_row(*map(escape, texts))
    console.print(table)
