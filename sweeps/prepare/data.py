"""From a config to pairs, splits and tokens: plain functions, which `plan` and `audit` use too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from dpo_core.encoding import encode
from dpo_core.encoding.token_table import TokenTable
from dpo_core.errors import SettingsError
from dpo_core.preferences import (
    LoadedData,
    PairTable,
    PreferenceSplits,
    as_chat,
    load_data,
    split_pairs,
)
from dpo_core.preferences.golden import is_unanswered, with_placeholder_answer
from sweeps.config.schema import SweepConfig
from sweeps.prepare.audit_report import Said
from sweeps.run_dir.paths import SPLITS

Encoded = dict[str, TokenTable]


def load_splits(config: SweepConfig) -> PreferenceSplits:
    """Read the pairs and split them by prompt group. Raises DataError, SettingsError."""
    return split_data(config, read_data(config))


def read_data(config: SweepConfig) -> LoadedData:
    """Every pair, those of splits that have a file of their own apart."""
    skip = config.data.on_bad_row == "skip"
    loaded = load_data(config.data.all_sources, skip_bad_rows=skip)
    fixed_splits = {
        split: load_data([source], skip_bad_rows=skip)
        for split, source in config.data.fixed_splits.items()
    }
    return replace(
        loaded,
        fixed_splits={split: part.pairs for split, part in fixed_splits.items()},
        skipped=(*loaded.skipped, *(why for part in fixed_splits.values() for why in part.skipped)),
    )


def expected_pairs(loaded: LoadedData) -> LoadedData:
    """For estimates: golden answers with something in place of what the model will say."""
    if not loaded.pairs.unanswered_count:
        return loaded
    pairs = (
        with_placeholder_answer(pair) if is_unanswered(pair) else pair for pair in loaded.pairs
    )
    return replace(loaded, pairs=PairTable.of(pairs))


def split_data(config: SweepConfig, loaded: LoadedData) -> PreferenceSplits:
    data = config.data
    return split_pairs(
        loaded.pairs,
        seed=config.seed,
        select_fraction=data.select_fraction,
        final_fraction=data.final_fraction,
        fixed_splits=loaded.fixed_splits,
    )


def said_of(loaded: LoadedData) -> Said:
    """What an audit says of the reading itself."""
    return {"annotator_agreement": loaded.agreement, "rows_skipped": list(loaded.skipped)}


def encode_splits(
    config: SweepConfig, splits: PreferenceSplits, tokenizer: Any, folder: Path
) -> Encoded:
    """The tokens of the splits, written into `folder` and mapped from there."""
    data, chat = config.data, encode.uses_chat_template(tokenizer, config.data.format)
    tokens: Encoded = {}
    for split in SPLITS:
        pairs = getattr(splits, split)
        encoded = encode.encode(
            map(as_chat, pairs) if chat else pairs, tokenizer, data.max_tokens, data.special_tokens
        )
        tokens[split] = TokenTable.write(encoded, folder / f"{split}.arrow")
    if not tokens["train"].distinct.any():
        raise SettingsError(
            f"data.max_tokens: {data.max_tokens} leaves no training pair with two different "
            "answers; raise it"
        )
    return tokens
