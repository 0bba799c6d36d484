"""The model card of the exported winner: what it was trained on, and how well it ranks pairs."""

from __future__ import annotations

import json

from sweeps.run_dir.json_types import ScoresJson, SelectionJson
from sweeps.run_dir.paths import SweepPaths
from sweeps.selection.effect import effect_sentences


def write_card(paths: SweepPaths, selection: SelectionJson) -> None:
    """Write `best/README.md`."""
    paths.store.write(f"{paths.best}/README.md", model_card(selection).encode())


def model_card(selection: SelectionJson) -> str:
    """Return the card of a selection with a winner: Markdown with the front matter of model hubs."""
    winner, base = selection["winner"], selection["base_model"]
    if winner is None:
        raise ValueError("a selection without a winner has no model card")
    reference = selection["reference"]
    rows = [_row("select", selection["select"], reference["select"])]
    if "final" in selection:
        rows.append(_row("final", selection["final"], reference["final"]))
    point = "\n".join(f"| {name} | {value} |" for name, value in winner["point"].items())
    return f"""---
base_model: {json.dumps(base)}
library_name: transformers
tags: [dpo, preference-tuning]
---

# {selection["sweep"]}: trial {winner["trial"]}, step {winner["step"]}

Tuned from `{base}` with Direct Preference Optimization (arXiv:2305.18290) by dpo-sweeps: the best
of {len(selection["trials"])} trials by {selection["objective"]} on held-out pairs.

**{selection["verdict"]["sentence"]}.**
{_effect(selection)}

| split | {selection["objective"]} | untouched model |
|---|---|---|
{chr(10).join(rows)}

The select split chose this checkpoint, so its number is too high; the final split was scored once,
afterwards. An untouched model scores one half on rewards by definition.

| hyperparameter | value |
|---|---|
{point}
"""


def _effect(selection: SelectionJson) -> str:
    effect = selection["verdict"].get("effect")
    return "".join(f"\n- {sentence}" for sentence in effect_sentences(effect)) if effect else ""


def _row(split: str, scores: ScoresJson, reference: ScoresJson) -> str:
    return f"| {split} | {_format_scores(scores)} | {_format_scores(reference)} |"


def _format_scores(scores: ScoresJson) -> str:
    interval = scores["interval"]
    bounds = f"{interval[0]:.3f} to {interval[1]:.3f}; " if interval else ""
    return (
        f"{scores['accuracy']:.3f} ({bounds}{scores['correct']} correct, "
        f"{scores['ties']} ties of {scores['total']})"
    )
