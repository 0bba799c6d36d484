"""Generated answers of the reference, the incumbent and those who could win, to held-out prompts.

answers.json: {"max_new_tokens": n, "incumbent": its path or null, "prompts": [{"id", "group",
"prompt"}], "by": {whom: [{"text", "tokens", "ended"}]}}, answers in the order of the prompts; `whom`
is "reference", "incumbent" or "t0003-step-000040". Prompts are of the select split: final stays shut.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dpo_core.preferences.split import group_draw
from sweeps.config.schema import SweepConfig
from sweeps.finalize.incumbent import Incumbent
from sweeps.ray_runtime.remote_call import RemoteCall
from sweeps.run_dir.answers import name_of, reusable_answers
from sweeps.run_dir.config_file import read_config
from sweeps.run_dir.paths import CheckpointKey, SweepPaths, SweepRef
from sweeps.run_dir.prepared import read_encoded, read_split
from sweeps.selection.verdict import INCUMBENT, REFERENCE

_BATCH = 16


def answer(
    config: SweepConfig,
    paths: SweepPaths,
    place: CheckpointKey,
    incumbent: Incumbent | None,
    call: RemoteCall,
) -> dict[str, Any]:
    """What answers.json holds once the checkpoint at `place` has answered too. Answers to other
    prompts, of another length or of another incumbent are not kept."""
    rows, tokens = sample(config, paths)
    limit = config.selection.sample_tokens
    about = {
        "max_new_tokens": limit,
        "incumbent": incumbent.path if incumbent else None,
        "prompts": rows,
    }
    held = reusable_answers(paths)
    kept = held["by"] if all(held.get(key) == value for key, value in about.items()) else {}
    wanted = [REFERENCE, *([INCUMBENT] if incumbent else []), name_of(place)]
    missing = [whom for whom in wanted if whom not in kept]
    if not missing:
        return held
    new = call(_answer_remotely, paths.ref, missing, place, incumbent, tokens, limit)
    found = {**about, "by": kept | new}
    paths.store.write(paths.answers, json.dumps(found, ensure_ascii=False).encode())
    return found


def sample(
    config: SweepConfig, paths: SweepPaths
) -> tuple[list[dict[str, Any]], list[tuple[int, ...]]]:
    """Prompts of the select split, as people read them and as models do: one of each of so many
    prompt groups, the same ones whatever the order of the pairs."""
    rows = read_split(paths, "select")
    rows.sort(key=lambda row: str(row["id"]), reverse=True)
    firsts = {row["group"]: row for row in rows}
    order = sorted(firsts, key=lambda group: group_draw(config.seed, f"sample {group}"))
    taken = [firsts[group] for group in order[: config.selection.sample_prompts]]
    encoded = {pair.id: pair.prompt for pair in read_encoded(paths, "select")}
    shown = [{key: row[key] for key in ("id", "group", "prompt")} for row in taken]
    return shown, [encoded[row["id"]] for row in taken]


def _answer_remotely(
    sweep: SweepRef,
    missing: Sequence[str],
    place: CheckpointKey,
    incumbent: Incumbent | None,
    prompts: Sequence[tuple[int, ...]],
    max_new_tokens: int,
) -> dict[str, list[dict[str, Any]]]:
    from dpo_core.models.load import load_model, load_tokenizer, silence_libraries
    from dpo_core.scoring.scorer import best_device

    silence_libraries()
    paths = sweep.paths
    config, device = read_config(paths), best_device()
    tokenizer, found = load_tokenizer(config.model), {}
    with tempfile.TemporaryDirectory(dir=paths.scratch) as scratch:
        for whom in missing:
            if whom == REFERENCE:
                model = load_model(config.model, device)
            elif whom == INCUMBENT and incumbent:
                model = load_model(incumbent.settings(config.model, Path(scratch)), device)
            else:
                model = _load_checkpoint(config, paths, place, Path(scratch), device)
            found[whom] = _generate(config, model, tokenizer, prompts, max_new_tokens)
    return found


def _load_checkpoint(
    config: SweepConfig, paths: SweepPaths, place: CheckpointKey, scratch: Path, device: str
) -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from dpo_core.models.load import load_model

    source = paths.store.download(paths.checkpoint(*place), scratch / name_of(place))
    if config.model.adapter is None:
        model = AutoModelForCausalLM.from_pretrained(source, dtype="auto").to(device)
    else:
        model = PeftModel.from_pretrained(load_model(config.model, device), source)
    return model.eval()


def _generate(
    config: SweepConfig,
    model: Any,
    tokenizer: Any,
    prompts: Sequence[tuple[int, ...]],
    max_new_tokens: int,
) -> list[dict[str, Any]]:
    """Greedy, in batches: the same checkpoint says the same thing."""
    from dpo_core.models.generation import generate
    from dpo_core.models.load import autocast

    made = []
    with autocast(config.model, next(model.parameters()).device.type):
        for start in range(0, len(prompts), _BATCH):
            batch = prompts[start : start + _BATCH]
            made += generate(model, tokenizer, batch, max_new_tokens)
    return [{"text": a.text, "tokens": list(a.tokens), "ended": a.ended} for a in made]
