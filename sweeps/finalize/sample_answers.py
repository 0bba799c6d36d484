"""Generated answers to held-out prompts: of the reference, the incumbent, and possible winners.

answers.json: {"max_new_tokens": n, "incumbent": its path or null, "prompts": [{"id", "group",
"prompt"}], "by": {author: [{"text", "tokens", "ended"}]}}, answers in the order of the prompts; an
author is "reference", "incumbent" or a checkpoint such as "t0003-step-000040". The prompts are of
the select split, because final is opened for scores alone.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dpo_core.encoding.token_table import TokenIds
from dpo_core.preferences.split import group_draw
from sweeps.config.schema import SweepConfig
from sweeps.finalize.incumbent import Incumbent
from sweeps.ray_runtime.remote_call import RemoteCall
from sweeps.run_dir.answers import checkpoint_name, reusable_answers
from sweeps.run_dir.config_file import read_config
from sweeps.run_dir.json_types import AnswerJson, AnswersJson, PromptJson
from sweeps.run_dir.paths import CheckpointKey, SweepPaths, SweepRef
from sweeps.run_dir.prepared import read_encoded, read_split
from sweeps.selection.verdict import INCUMBENT, REFERENCE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from dpo_core.models.load import CausalModel

_BATCH = 16


def answer_with(
    config: SweepConfig,
    paths: SweepPaths,
    checkpoint: CheckpointKey,
    incumbent: Incumbent | None,
    call: RemoteCall,
) -> AnswersJson:
    """Have the sampled prompts answered by a checkpoint and by what it is compared with.

    Stored answers are used again, unless they are to other prompts, of another greatest length, or
    beside those of another incumbent.

    Args:
        config: Config of the sweep.
        paths: The run directory, to which new answers are written.
        checkpoint: Trial and step.
        incumbent: The incumbent, which answers too.
        call: Runs the models on a worker.

    Returns:
        The content of answers.json.
    """
    prompts, prompt_tokens = sample_prompts(config, paths)
    limit = config.selection.sample_tokens
    answers: AnswersJson = {
        "max_new_tokens": limit,
        "incumbent": incumbent.path if incumbent else None,
        "prompts": prompts,
        "by": {},
    }
    stored = reusable_answers(paths)
    is_usable = all(stored.get(key) == answers.get(key) for key in answers.keys() - {"by"})
    usable = stored["by"] if is_usable else {}
    authors = [REFERENCE, *([INCUMBENT] if incumbent else []), checkpoint_name(checkpoint)]
    missing = [author for author in authors if author not in usable]
    if not missing:
        return stored
    new = call(_answer_remotely, paths.ref, missing, checkpoint, incumbent, prompt_tokens, limit)
    answers["by"] = {**usable, **new}
    paths.store.write(paths.answers, json.dumps(answers, ensure_ascii=False).encode())
    return answers


def sample_prompts(
    config: SweepConfig, paths: SweepPaths
) -> tuple[list[PromptJson], list[TokenIds]]:
    """Sample prompts of the select split, one of each of `sample_prompts` prompt groups.

    Args:
        config: Config of the sweep; its seed decides the sample, whatever the order of the pairs.
        paths: The run directory.

    Returns:
        Rows with id, group and prompt as people read it; and the token ids of each prompt.
    """
    rows = read_split(paths, "select")
    rows.sort(key=lambda row: str(row["id"]), reverse=True)
    first_of_group = {row["group"]: row for row in rows}
    order = sorted(first_of_group, key=lambda group: group_draw(config.seed, f"sample {group}"))
    sampled = [first_of_group[group] for group in order[: config.selection.sample_prompts]]
    encoded = {pair.id: pair.prompt for pair in read_encoded(paths, "select")}
    prompts: list[PromptJson] = [
        {"id": row["id"], "group": row["group"], "prompt": row["prompt"]} for row in sampled
    ]
    return prompts, [encoded[row["id"]] for row in sampled]


def _answer_remotely(
    sweep: SweepRef,
    authors: Sequence[str],
    checkpoint: CheckpointKey,
    incumbent: Incumbent | None,
    prompts: Sequence[TokenIds],
    max_new_tokens: int,
) -> dict[str, list[AnswerJson]]:
    """Load one author after the other and have it answer; runs on a worker."""
    from dpo_core.models.load import load_model, load_tokenizer, silence_libraries
    from dpo_core.scoring.scorer import best_device

    silence_libraries()
    paths = sweep.paths
    config, device = read_config(paths), best_device()
    tokenizer = load_tokenizer(config.model)
    answers = {}
    with tempfile.TemporaryDirectory(dir=paths.scratch) as scratch:
        for author in authors:
            model: CausalModel
            if author == REFERENCE:
                model = load_model(config.model, device)
            elif author == INCUMBENT and incumbent:
                model = load_model(incumbent.settings(config.model, Path(scratch)), device)
            else:
                model = _load_checkpoint(config, paths, checkpoint, Path(scratch), device)
            answers[author] = _generate(config, model, tokenizer, prompts, max_new_tokens)
    return answers


def _load_checkpoint(
    config: SweepConfig, paths: SweepPaths, checkpoint: CheckpointKey, scratch: Path, device: str
) -> CausalModel:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from dpo_core.models.load import load_model

    source = paths.store.download(
        paths.checkpoint(*checkpoint), scratch / checkpoint_name(checkpoint)
    )
    model: CausalModel
    if config.model.adapter is None:
        model = AutoModelForCausalLM.from_pretrained(source, dtype="auto").to(device)
    else:
        model = PeftModel.from_pretrained(load_model(config.model, device), source)
    return model.eval()


def _generate(
    config: SweepConfig,
    model: CausalModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[TokenIds],
    max_new_tokens: int,
) -> list[AnswerJson]:
    """Generate greedily, in batches: a checkpoint always gives the same answers."""
    from dpo_core.models.generation import generate
    from dpo_core.models.load import autocast

    answers = []
    with autocast(config.model, next(model.parameters()).device.type):
        for start in range(0, len(prompts), _BATCH):
            batch = prompts[start : start + _BATCH]
            answers += generate(model, tokenizer, batch, max_new_tokens)
    return [{"text": a.text, "tokens": list(a.tokens), "ended": a.ended} for a in answers]
