"""The model answers golden prompts: a stage before the tokens, run once and kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dpo_core import encode
from dpo_core.errors import DataError
from dpo_core.golden_answers import fill_in
from dpo_core.preferences import PairTable, PreferenceSplits, chat_prompt
from sweeps.config import SweepConfig
from sweeps.paths import SPLITS, SweepPaths


def answer_golden(
    config: SweepConfig,
    paths: SweepPaths,
    splits: PreferenceSplits,
    tokenizer: Any,
    prints: Mapping[str, str],
    scorer: Any,
) -> tuple[PreferenceSplits, list[str]]:
    """The splits with the model's own answer as the rejected side of each golden pair, and why some
    make no pair. Raises DataError when a split is left empty."""
    from dpo_core.generation import generate

    if not any(PairTable.of(getattr(splits, s)).waiting for s in SPLITS):
        return splits, []
    data, how = config.data, config.data.generation
    chat = encode.uses_chat_template(tokenizer, data.format)
    about = [
        *prints.values(),
        json.dumps(how.model_dump()),
        f"{config.model.dtype} {config.seed} {data.max_tokens} {data.special_tokens} {chat}",
    ]

    def answer(prompts: Sequence[Any], seed: int) -> list[str]:
        tokens = [
            encode.prompt_tokens(chat_prompt(p) if chat else p, tokenizer, data.special_tokens)
            for p in prompts
        ]
        return generate(
            scorer.model,
            tokenizer,
            [ids[-data.max_tokens :] for ids in tokens],
            how.max_new_tokens,
            temperature=how.temperature,
            seed=seed,
        )

    store = paths.reference_cache.at("golden")
    filled = {s: fill_in(getattr(splits, s), answer, store, about) for s in SPLITS}
    for split, found in filled.items():
        if not found.pairs:
            raise DataError(
                f"no golden answer of the {split} split differs from the model's own "
                f"({found.dropped[0]}); there is nothing to learn, or add data"
            )
    dropped = [reason for found in filled.values() for reason in found.dropped]
    return PreferenceSplits(**{s: PairTable.of(filled[s].pairs) for s in SPLITS}), dropped
