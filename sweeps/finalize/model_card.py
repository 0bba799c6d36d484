"""The model card of the exported winner: what was trained on what, and how well it ranks."""

from __future__ import annotations

import json
from typing import Any

from sweeps.run_dir.paths import SPLITS, SweepPaths


def write_card(paths: SweepPaths, selection: dict[str, Any]) -> None:
    """`best/README.md`: what was trained on what, and how well it ranks held-out pairs."""
    paths.store.write(f"{paths.best}/README.md", model_card(selection).encode())


def model_card(selection: dict[str, Any]) -> str:
    """Markdown with the front matter that model hubs read."""
    winner, base = selection["winner"], selection["base_model"]
    rows = [
        f"| {split} | {_share(selection[split])} | {_share(selection['reference'][split])} |"
        for split in SPLITS
        if split in selection
    ]
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

| split | {selection["objective"]} | untouched model |
|---|---|---|
{chr(10).join(rows)}

The select split chose this checkpoint, so its number flatters; the final split was scored once,
afterwards. An untouched model scores one half on rewards by definition.

| hyperparameter | value |
|---|---|
{point}
"""


def _share(scores: dict[str, Any]) -> str:
    low, high = scores["interval"]
    return (
        f"{scores['accuracy']:.3f} ({low:.3f} to {high:.3f}; {scores['correct']} correct, "
        f"{scores['ties']} ties of {scores['total']})"
    )
