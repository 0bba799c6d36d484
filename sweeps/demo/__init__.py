"""The worked example: a config, pairs of a pharmacy, and answers before and after the sweep.

Tested in tests/unit/sweeps/demo/test_demo.py; the pairs in test_demo_data.py beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.resources import files
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from sweeps.config.load import parse_sweep
from sweeps.config.schema import SweepConfig
from sweeps.demo.advice import count_advice, count_loops
from sweeps.run_dir.answers import checkpoint_name, read_answers
from sweeps.run_dir.paths import SweepPaths
from sweeps.selection.verdict import REFERENCE, role_of_choice

if TYPE_CHECKING:
    from rich.console import Console

    from sweeps.run_dir.json_types import SelectionJson

_QUESTIONS = 5


def demo_config(storage: str, overrides: Iterable[str]) -> SweepConfig:
    """Return the config of demo.yaml with a storage, the packaged pairs, and overrides on top."""
    folder = files("sweeps.demo")
    text = (folder / "demo.yaml").read_text(encoding="utf-8")
    pairs = str(folder / "pharmacy.jsonl")
    settings = [f"storage={_quoted(storage)}", f"data.path={_quoted(pairs)}"]
    return parse_sweep(text, source="demo.yaml", overrides=[*settings, *overrides])


def print_sample_answers(paths: SweepPaths, selection: SelectionJson, console: Console) -> None:
    """Print held-out questions as the base model and the winner answer them, and count all.

    Questions that both answered to the end come first, because a cut answer is hard to judge.

    Args:
        paths: Run directory, whose answers.json holds the answers.
        selection: selection.json; nothing is printed where it has no winner.
        console: Terminal to print to.
    """
    winner = selection["winner"]
    if winner is None:
        return
    answers = read_answers(paths)
    names = REFERENCE, checkpoint_name((winner["trial"], winner["step"]))
    columns = [answers["by"].get(name, []) for name in names]
    table = Table(title="held-out questions", show_lines=True)
    role = role_of_choice((selection.get("verdict") or {}).get("word"))
    for title in ("question", "base model", f"{role} {winner['trial']}"):
        table.add_column(title, ratio=1)
    rows = list(zip(answers.get("prompts", []), *columns, strict=False))
    rows.sort(key=lambda row: not all(answer.get("ended", True) for answer in row[1:]))
    for prompt, *model_answers in rows[:_QUESTIONS]:
        questions = [turn["content"] for turn in prompt["prompt"] if turn["role"] == "user"]
        table.add_row(
            escape("\n\n".join(questions)), *(escape(answer["text"]) for answer in model_answers)
        )
    console.print(table)
    if all(columns):
        before, after = map(count_advice, columns)
        loops_before, loops_after = map(count_loops, columns)
        console.print(
            f"{after} of {len(columns[1])} answers of {winner['trial']} to held-out questions send the "
            f"person to a doctor, a pharmacist or the like, and {before} of the base model's; "
            f"{loops_after} and {loops_before} end in a loop."
        )


def _quoted(text: str) -> str:
    # In ASCII, JSON would write an emoji as two escaped halves, which YAML refuses.
    return json.dumps(text, ensure_ascii=False)
