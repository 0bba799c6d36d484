"""The worked example: pharmacy pairs that ship with the package, and answers before and after."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

from rich.markup import escape
from rich.table import Table

from sweeps.calls import call_of
from sweeps.cluster import connected
from sweeps.config import SweepConfig, parse_sweep
from sweeps.paths import SweepPaths

_QUESTIONS, _ANSWER_TOKENS = 3, 60


def demo_config(storage: str, overrides: Iterable[str]) -> SweepConfig:
    """demo.yaml with the packaged pairs."""
    folder = files("sweeps.demo")
    text = (folder / "demo.yaml").read_text(encoding="utf-8")
    given = [f"storage={_quoted(storage)}", f"data.path={_quoted(str(folder / 'pharmacy.jsonl'))}"]
    return parse_sweep(text, source="demo.yaml", overrides=[*given, *overrides])


def _quoted(text: str) -> str:
    # Not in ASCII: JSON would write an emoji as two escaped halves, which YAML refuses.
    return json.dumps(text, ensure_ascii=False)


def side_by_side(
    config: SweepConfig, paths: SweepPaths, selection: Mapping[str, Any], console: Any
) -> None:
    """Print three held-out questions, answered by the base model and by the winner."""
    prompts = held_out_prompts(paths)
    with connected():
        best = f"{paths.storage.uri}/{paths.sweep_id}/{paths.best}"
        before, after = call_of(config)(
            answer_both, config.model.path, best, prompts, _ANSWER_TOKENS
        )
    table = Table(title="held-out questions", show_lines=True)
    for column in ("question", "base model", f"winner {selection['winner']['trial']}"):
        table.add_column(column, ratio=1)
    for prompt, old, new in zip(prompts, before, after, strict=True):
        table.add_row(escape(prompt[-1]["content"]), escape(old), escape(new))
    console.print(table)


def held_out_prompts(paths: SweepPaths) -> list[list[dict[str, str]]]:
    """The first prompts of the final split, one a prompt group."""
    rows = [json.loads(line) for line in paths.store.read(paths.split("final")).splitlines()]
    groups = {row["group"]: row["prompt"] for row in reversed(rows)}
    return list(groups.values())[-_QUESTIONS:]


def answer_both(
    base: str, best: str, prompts: list[list[dict[str, str]]], tokens: int
) -> tuple[list[str], list[str]]:
    """Greedy answers of both models, in a worker."""
    from dpo_core.generation import answers
    from dpo_core.settings import ModelSettings

    before = answers(ModelSettings(path=base), prompts, tokens)
    return before, answers(ModelSettings(path=best), prompts, tokens)
