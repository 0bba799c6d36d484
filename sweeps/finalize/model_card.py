"""The model card of the exported winner: what it was trained on, and how well it ranks pairs."""

from __future__ import annotations

import json

from dpo_core.models.base_name import base_name
from sweeps.run_dir.exported import ADAPTER, ExportedJson, ExportedModel
from sweeps.run_dir.json_types import ScoresJson, SelectionJson
from sweeps.run_dir.paths import SweepPaths
from sweeps.selection.effect import effect_sentences
from sweeps.selection.trial_counts import trial_counts_in_words


def write_card(paths: SweepPaths, selection: SelectionJson) -> None:
    """Write `best/README.md`, which the manifest of `best/` then covers too."""
    model = ExportedModel.of(paths)
    model.write_card(model_card(selection, model.manifest))


def model_card(selection: SelectionJson, manifest: ExportedJson | None = None) -> str:
    """Write the card of a winner: Markdown with the front matter of model hubs.

    Args:
        selection: A selection with a winner.
        manifest: How its weights are stored; None where that is not known.

    Returns:
        The text of README.md.

    Raises:
        ValueError: The selection has no winner.
    """
    winner = selection["winner"]
    named = manifest.get("base_model") if manifest else None
    base = named or base_name(selection["base_model"])
    if winner is None:
        raise ValueError("a selection without a winner has no model card")
    reference = selection["reference"]
    rows = [_row("select", selection["select"], reference["select"])]
    if "final" in selection:
        rows.append(_row("final", selection["final"], reference["final"]))
    point = "\n".join(f"| {name} | {value} |" for name, value in winner["point"].items())
    return f"""---
base_model: {json.dumps(base)}
library_name: {"peft" if _is_adapter(manifest) else "transformers"}
tags: [dpo, preference-tuning]
---

# {selection["sweep"]}: trial {winner["trial"]}, step {winner["step"]}

Tuned from `{base}` with Direct Preference Optimization (arXiv:2305.18290) by dpo-sweeps,
and chosen from {trial_counts_in_words(selection)} by {selection["objective"]} on held-out pairs.

**{selection["verdict"]["sentence"]}.**
{_effect(selection)}

| split | {selection["objective"]} | untouched model |
|---|---|---|
{chr(10).join(rows)}

The select split chose this checkpoint, so its number is too high.
{_openings(selection)}
An untouched model scores one half on rewards by definition.
{_weights(base, manifest)}
| hyperparameter | value |
|---|---|
{point}
"""


def _openings(selection: SelectionJson) -> str:
    """Say which opening of the final split its number comes from."""
    if "final" not in selection:
        return "The final split was not scored."
    openings = selection.get("final_opened") or []
    opening = openings[-1] if openings else None
    if opening is None or opening.get("number", 1) == 1:
        return "The final split was opened for it afterwards, for the first time."
    return (
        f"The final split was opened for it afterwards; this was opening {opening['number']}, of "
        f"{opening['declared']} that were declared for its prompts."
    )


def _effect(selection: SelectionJson) -> str:
    effect = selection["verdict"].get("effect")
    return "".join(f"\n- {sentence}" for sentence in effect_sentences(effect)) if effect else ""


def _is_adapter(manifest: ExportedJson | None) -> bool:
    return bool(manifest and manifest.get("asked_dtype", "auto") is None)


def _weights(base: str, manifest: ExportedJson | None) -> str:
    """Say how the weights are stored, and what that costs of the margins."""
    margins = manifest and manifest.get("margins")
    if not margins:
        return ""
    if _is_adapter(manifest):
        return f"\n`{ADAPTER}/` holds the LoRA adapter, which PEFT loads over `{base}`.\n"
    return (
        f"\nThe weights are stored in {margins['dtype']}. Read back, they have lost "
        f"{100 * margins['lost']:.1f} % of the margins on select, whose mean was "
        f"{margins['chosen']:.3g} nats.\n"
    )


def _row(split: str, scores: ScoresJson, reference: ScoresJson) -> str:
    return f"| {split} | {_format_scores(scores)} | {_format_scores(reference)} |"


def _format_scores(scores: ScoresJson) -> str:
    interval = scores["interval"]
    bounds = f"{interval[0]:.3f} to {interval[1]:.3f}; " if interval else ""
    return (
        f"{scores['accuracy']:.3f} ({bounds}{scores['correct']} correct, "
        f"{scores['ties']} ties of {scores['total']})"
    )
