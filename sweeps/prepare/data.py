"""Reads a sweep's pairs, splits and encodes them; `plan` and `audit` use these functions too.

Tested in tests/unit/sweeps/prepare/test_data.py and tests/unit/sweeps/preflight/test_plan.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dpo_core.audit.formatted_text import TextUse
from dpo_core.encoding import encode
from dpo_core.encoding.rules import EncodingRules
from dpo_core.encoding.token_table import TokenTable
from dpo_core.errors import DataError, SettingsError
from dpo_core.preferences import (
    LoadedData,
    PairTable,
    PreferencePair,
    PreferenceSplits,
    as_chat,
    load_data,
    split_pairs,
)
from dpo_core.preferences.golden import is_unanswered, with_placeholder_answer
from dpo_core.preferences.notes.bad_rows import BadRows
from dpo_core.preferences.notes.row_scores import ScoreCounts
from dpo_core.preferences.pairs import location
from dpo_core.storage.store import Store
from sweeps.config.schema import SweepConfig
from sweeps.prepare.column_use import column_use_json
from sweeps.run_dir.final_register import FinalRegister
from sweeps.run_dir.json_types import ReadingReport, ScoreCountsJson
from sweeps.run_dir.paths import SPLITS
from sweeps.run_dir.training_pairs import TrainingPairs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TokenTables = dict[str, TokenTable]
"""The encoded pairs of each split."""


def read_data(config: SweepConfig) -> LoadedData:
    """Read every pair; those of splits with a file of their own stay apart.

    Raises:
        DataError: a file or a row cannot be used.
    """
    bad_rows = BadRows(config.data.on_bad_row == "skip")
    loaded = load_data(config.data.all_sources, bad_rows=bad_rows)
    fixed_splits = {
        split: load_data([source], bad_rows=bad_rows)
        for split, source in config.data.fixed_splits.items()
    }
    bad_rows.refuse()
    no_pair, scores, columns = dict(loaded.no_pair), dict(loaded.scores), dict(loaded.columns)
    for split, part in fixed_splits.items():
        # It may have the label of another source.
        no_pair |= {f"{label} ({split})": counts for label, counts in part.no_pair.items()}
        scores |= {f"{label} ({split})": counts for label, counts in part.scores.items()}
        columns |= {f"{label} ({split})": use for label, use in part.columns.items()}
    return replace(
        loaded,
        fixed_splits={split: part.pairs for split, part in fixed_splits.items()},
        skipped=tuple(bad_rows.reasons),
        no_pair=no_pair,
        scores=scores,
        columns=columns,
    )


def with_placeholder_answers(loaded: LoadedData) -> LoadedData:
    """Put placeholders where the model will answer golden prompts, for estimates of lengths."""
    if not loaded.pairs.unanswered_count:
        return loaded
    pairs = (
        with_placeholder_answer(pair) if is_unanswered(pair) else pair for pair in loaded.pairs
    )
    return replace(loaded, pairs=PairTable.of(pairs))


def split_data(
    config: SweepConfig, loaded: LoadedData, kept: Mapping[str, str] | None = None
) -> PreferenceSplits:
    """Split pairs into train, select and final by prompt group, as the config says.

    Args:
        config: The sweep.
        loaded: All pairs.
        kept: Splits that prompts keep, from `kept_prompts`.

    Returns:
        The pairs of each split.

    Raises:
        DataError: A split is empty.
    """
    data = config.data
    return split_pairs(
        loaded.pairs,
        seed=config.seed,
        select_fraction=data.select_fraction,
        final_fraction=data.final_fraction,
        most_pairs=data.most_pairs,
        fixed_splits=loaded.fixed_splits,
        kept=kept or {},
        min_similarity=data.min_similarity,
    )


def full_splits(over_limit: Mapping[str, int]) -> str | None:
    """Say which splits are full, and how many pairs are in train for that; None where none is."""
    parts = [f"{pairs} beyond data.{split}_pairs" for split, pairs in over_limit.items()]
    return f"{' and '.join(parts)} are in train" if parts else None


def kept_prompts(storage: Store, incumbent: str | None = None) -> dict[str, str]:
    """Return the split that prompts keep, whatever is drawn for them, by their `question_id`.

    Args:
        storage: Prompts of every final split that was opened there stay in final.
        incumbent: In nights, the model whose training prompts stay in train: otherwise a new row that
            moves one of them to final would leave the nights without an incumbent.

    Returns:
        `train` or `final` by prompt.

    Raises:
        DamagedFile: The register of opened finals cannot be read.
    """
    trained = TrainingPairs.of_model(incumbent) if incumbent else None
    opened = FinalRegister.of(storage).opened_questions()
    return {
        **dict.fromkeys(trained.questions if trained else (), "train"),
        **dict.fromkeys(opened, "final"),
    }


def reading_report(loaded: LoadedData, splits: PreferenceSplits) -> ReadingReport:
    """Return what an audit says about the reading itself."""
    return {
        "annotator_agreement": loaded.agreement,
        "rows_skipped": list(loaded.skipped),
        "rows_left_out": [location(pair) for pair in splits.left_out],
        "no_pair": {
            source: {"rows": each.rows, "counts": dict(each.counts), "places": each.places}
            for source, each in loaded.no_pair.items()
            if each.counts
        },
        "row_scores": {
            source: {columns: _score_counts(counts) for columns, counts in each.counts.items()}
            for source, each in loaded.scores.items()
            if each.counts
        },
        "columns": {source: column_use_json(use) for source, use in loaded.columns.items()},
    }


def _score_counts(counts: ScoreCounts) -> ScoreCountsJson:
    return {
        "rows": counts.rows,
        "equal": counts.equal,
        "against": counts.against,
        "equal_places": counts.equal_places,
        "against_places": counts.against_places,
    }


def text_use(config: SweepConfig, tokenizer: PreTrainedTokenizerBase) -> TextUse:
    """Return what encoding does with the texts of pairs, for the audit.

    Args:
        config: the sweep; `data` says how to encode.
        tokenizer: the model's own.

    Returns:
        The same for all pairs.
    """
    eos = tokenizer.eos_token
    return TextUse(
        is_chat=encode.uses_chat_template(tokenizer, config.data.format),
        keeps_special_tokens=config.data.special_tokens == "keep",
        eos_token=eos if isinstance(eos, str) else None,
    )


@dataclass(frozen=True)
class EncodedSplits:
    """The tokens of each split, and the pairs that they are of."""

    tokens: TokenTables
    splits: PreferenceSplits
    """The pairs that could be encoded."""
    refused: tuple[str, ...]
    """One message for each pair that is left out, with file, line and reason."""


def encode_splits(
    config: SweepConfig,
    splits: PreferenceSplits,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
) -> EncodedSplits:
    """Encode the pairs of every split into Arrow files in `folder`.

    Args:
        config: the sweep; `data` says how to encode, and whether a pair that cannot be encoded is left
            out.
        splits: the pairs.
        tokenizer: the model's own.
        folder: where the files go, which the tables map into memory.

    Returns:
        Tokens and pairs of each split.

    Raises:
        DataError: pairs cannot be encoded and must not be left out, or a split would be empty.
        SettingsError: no training pair has two different answers once they are cut.
    """
    data, chat = config.data, encode.uses_chat_template(tokenizer, config.data.format)
    bad_rows = BadRows(data.on_bad_row == "skip")
    tokens: TokenTables = {}
    kept: dict[str, Sequence[PreferencePair]] = {}
    for split in SPLITS:
        pairs = getattr(splits, split)
        encoded = encode.encode(
            map(as_chat, pairs) if chat else pairs,
            tokenizer,
            data.max_tokens,
            EncodingRules.of(data),
            bad_rows.add,
        )
        tokens[split] = TokenTable.write(encoded, folder / f"{split}.arrow")
        kept[split] = _pairs_of(tokens[split], pairs)
    bad_rows.refuse()
    empty = next((split for split in SPLITS if not kept[split]), None)
    if empty and bad_rows.count:
        raise DataError(
            f"no row of the {empty} split can be used; {bad_rows.count:,} rows cannot be encoded, the "
            f"first: {bad_rows.reasons[0]}"
        )
    if not tokens["train"].distinct.any():
        raise SettingsError(
            f"data.max_tokens: {data.max_tokens} leaves no training pair with two different "
            "answers; raise it"
        )
    train, select, final = kept.values()
    splits = replace(splits, train=train, select=select, final=final)
    return EncodedSplits(tokens, splits, tuple(bad_rows.reasons))


def _pairs_of(tokens: TokenTable, pairs: Sequence[PreferencePair]) -> Sequence[PreferencePair]:
    """Return the pairs that are in the table of tokens, which may lack some."""
    if len(tokens) == len(pairs):
        return pairs
    table, encoded = PairTable.of(pairs), set(tokens.ids)
    return table.take(np.flatnonzero([id in encoded for id in table.column("id")]))
