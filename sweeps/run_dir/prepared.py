"""What a sweep's folder holds once it is prepared, and how to read it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpo_core.encoding.token_table import TokenTable
from dpo_core.errors import UserError
from dpo_core.preferences import PairTable, PreferenceSplits
from dpo_core.scoring import reference_cache
from dpo_core.scoring.reference_cache import Columns
from dpo_core.settings import DEFAULT_ROW_TOKENS, TrainingSettings
from sweeps.run_dir.paths import SPLITS, SweepPaths


@dataclass(frozen=True)
class Prepared:
    """What `prepared.json` keeps. `reports` and `reference_keys` are by split."""

    data_sha256: str
    weights_sha256: str
    tokenizer_sha256: str
    reports: Mapping[str, Mapping[str, Any]]
    reference_keys: Mapping[str, str]
    reference_computed: Mapping[str, bool]
    row_tokens: int = DEFAULT_ROW_TOKENS
    gradient_checkpointing: bool = False
    findings: Sequence[Mapping[str, Any]] = ()
    """Of the audit, by severity."""
    golden_dropped: Sequence[str] = ()
    """Golden answers that made no pair, and why."""
    not_shared: str | None = None
    """Why prompts cannot be shared between a pair's answers, if they cannot."""

    def fitted(self, training: TrainingSettings) -> TrainingSettings:
        """With what was left open filled in for the device that prepared the sweep."""
        chosen = {n: getattr(self, n) for n in ("row_tokens", "gradient_checkpointing")}
        return training.model_copy(update=chosen)

    @classmethod
    def read(cls, paths: SweepPaths) -> Prepared:
        return cls(**json.loads(paths.store.read(paths.prepared)))


def read_pairs(paths: SweepPaths) -> PreferenceSplits:
    """The splits as they were read, golden answers still waiting."""
    files = (paths.store.local_file(paths.pairs(split)) for split in SPLITS)
    return PreferenceSplits(*map(PairTable.open, files))


def read_encoded(paths: SweepPaths, split: str) -> TokenTable:
    return TokenTable.open(paths.store.local_file(paths.encoded(split)))


def read_labels(paths: SweepPaths, split: str) -> dict[str, dict[str, str | None]]:
    """Source and category of each pair, by its id."""
    pairs = read_encoded(paths, split)
    kinds = ("source", "category")
    return {kind: dict(zip(pairs.ids, pairs.labels(kind), strict=True)) for kind in kinds}


def read_reference(paths: SweepPaths, prepared: Prepared, split: str, pairs: TokenTable) -> Columns:
    """The kept columns. Raises UserError when someone removed or damaged them."""
    key = prepared.reference_keys[split]
    columns = reference_cache.load(paths.reference_cache, key, pairs)
    if columns is None:
        raise UserError(
            f"{paths.reference_cache.uri}/{key} is gone or damaged; `dpo-sweeps resume` computes it "
            "again"
        )
    return columns
