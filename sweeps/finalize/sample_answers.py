"""Generated answers to held-out prompts: of the reference, the incumbent, and possible winners.

answers.json: {"max_new_tokens": n, "incumbent": its path or null, "prompts": [{"id", "group",
"prompt"}], "by": {author: [{"text", "tokens", "ended"}]}}, answers in the order of the prompts; an
author is "reference", "incumbent" or a checkpoint such as "t0003-step-000040". The prompts are of
the select split, because final is opened for scores alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dpo_core.encoding.token_table import TokenIds
from dpo_core.preferences.split_draws import group_draw
from sweeps.config.schema import SweepConfig
from sweeps.finalize.cleaned import refuse_if_cleaned
from sweeps.finalize.export import checkpoint_folder
from sweeps.finalize.incumbent import Incumbent
from sweeps.ray_runtime.remote_call import RemoteCall, call_in_shares
from sweeps.run_dir import json_files
from sweeps.run_dir.answers import checkpoint_name, reusable_answers
from sweeps.run_dir.config_file import read_config
from sweeps.run_dir.json_types import AnswerJson, AnswersJson, PromptJson
from sweeps.run_dir.paths import CheckpointKey, SweepPaths, SweepRef
from sweeps.run_dir.prepared import Prepared, read_encoded, read_split
from sweeps.selection.verdict import INCUMBENT, REFERENCE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from dpo_core.models.load import CausalModel

BATCH = 16
"""Prompts that are answered together. Batches do not depend on the number of workers."""


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
        call: Runs the models on a worker; called in threads, for all workers at once.

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
    if checkpoint_name(checkpoint) in missing:
        refuse_if_cleaned(paths, checkpoint)
    batches = _batches(prompt_tokens)

    def answer_share(share: int, shares: int) -> dict[str, list[AnswerJson]]:
        own = [[prompt_tokens[i] for i in batch] for batch in batches[share::shares]]
        return call(_answer_remotely, paths.ref, missing, checkpoint, incumbent, own, limit)

    of_shares = call_in_shares(config, len(batches), answer_share)
    answers["by"] = {**usable, **_in_order_of_prompts(of_shares, batches)}
    json_files.ANSWERS.write(paths.store, paths.answers, answers)
    return answers


def sample_prompts(
    config: SweepConfig, paths: SweepPaths
) -> tuple[list[PromptJson], list[TokenIds]]:
    """Sample `sample_prompts` prompts of the select split, or all if it has no more.

    As many prompt groups as possible are in the sample: a second prompt of a group comes after the
    first ones of all groups.

    Args:
        config: Config of the sweep; its seed decides the sample, whatever the order of the pairs.
        paths: The run directory.

    Returns:
        Rows with id, group and prompt as people read it; and the token ids of each prompt.
    """
    encoded = {pair.id: pair.prompt for pair in read_encoded(paths, "select")}
    rows = sorted(read_split(paths, "select"), key=lambda row: str(row["id"]), reverse=True)
    by_prompt = {encoded[row["id"]]: row for row in rows}  # a prompt may have several pairs
    earlier: Counter[str] = Counter()
    order = []
    for row in sorted(by_prompt.values(), key=lambda row: str(row["id"])):
        draw = group_draw(config.seed, f"sample {row['group']}")
        order.append((earlier[row["group"]], draw, row))
        earlier[row["group"]] += 1
    order.sort(key=lambda each: each[:2])
    sampled = [row for _, _, row in order[: config.selection.sample_prompts]]
    prompts: list[PromptJson] = [
        {"id": row["id"], "group": row["group"], "prompt": row["prompt"]} for row in sampled
    ]
    return prompts, [encoded[row["id"]] for row in sampled]


def _batches(prompts: Sequence[TokenIds]) -> list[list[int]]:
    """Return the numbers of the prompts that are answered together: those of similar length."""
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    return [order[start : start + BATCH] for start in range(0, len(order), BATCH)]


def _in_order_of_prompts(
    of_shares: Sequence[Mapping[str, Sequence[AnswerJson]]], batches: Sequence[Sequence[int]]
) -> dict[str, list[AnswerJson]]:
    """Return each author's answers in the order of the prompts, from those of the shares."""
    shares = len(of_shares)
    ordered: dict[str, dict[int, AnswerJson]] = {}
    for share, by_author in enumerate(of_shares):
        numbers = [number for batch in batches[share::shares] for number in batch]
        for author, answers in by_author.items():
            ordered.setdefault(author, {}).update(zip(numbers, answers, strict=True))
    return {author: [rows[number] for number in sorted(rows)] for author, rows in ordered.items()}


def _answer_remotely(
    sweep: SweepRef,
    authors: Sequence[str],
    checkpoint: CheckpointKey,
    incumbent: Incumbent | None,
    batches: Sequence[Sequence[TokenIds]],
    max_new_tokens: int,
) -> dict[str, list[AnswerJson]]:
    """Load one author after the other and have it answer batches of prompts; runs on a worker."""
    from dpo_core.models.load import (
        load_model,
        load_tokenizer,
        load_trained,
        silence_libraries,
    )
    from dpo_core.scoring.scorer import best_device

    silence_libraries()
    paths = sweep.paths
    config, device = read_config(paths), best_device()
    tokenizer = load_tokenizer(config.model)
    answers = {}
    with paths.store.scratch() as scratch:
        for author in authors:
            model: CausalModel
            if author == REFERENCE:
                model = load_model(config.model, device)
            elif author == INCUMBENT and incumbent:
                prepared = Prepared.read(paths)
                model = incumbent.load(config.model, prepared, scratch, device).model
            else:
                source = checkpoint_folder(paths, checkpoint, scratch)
                model = load_trained(config.model, source, device)
            answers[author] = _generate(config, model, tokenizer, batches, max_new_tokens)
    return answers


def _generate(
    config: SweepConfig,
    model: CausalModel,
    tokenizer: PreTrainedTokenizerBase,
    batches: Sequence[Sequence[TokenIds]],
    max_new_tokens: int,
) -> list[AnswerJson]:
    """Generate greedily, batch by batch: a checkpoint always gives the same answers."""
    from dpo_core.models.generation import generate_greedily
    from dpo_core.models.load import autocast

    with autocast(config.model, next(model.parameters()).device.type):
        answers = [
            answer
            for batch in batches
            for answer in generate_greedily(model, tokenizer, batch, max_new_tokens)
        ]
    return [{"text": a.text, "tokens": list(a.tokens), "ended": a.ended} for a in answers]
