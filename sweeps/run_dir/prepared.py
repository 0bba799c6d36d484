"""Readers of what preparing a sweep leaves: `prepared.json`, pairs, tokens, reference log-probs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from dpo_core.encoding.token_table import TokenTable
from dpo_core.errors import UserError
from dpo_core.preferences import PairTable, PreferenceSplits
from dpo_core.scoring import reference_cache
from dpo_core.scoring.reference_cache import Columns
from dpo_core.scoring.row_layout import RowLayout
from dpo_core.settings import DEFAULT_ROW_TOKENS, FLOAT32, TrainingSettings
from dpo_core.storage.file_digests import file_sha256
from sweeps.run_dir import json_files
from sweeps.run_dir.json_files import DamagedFile
from sweeps.run_dir.json_types import CoverageJson, FindingJson, ModelCheckJson
from sweeps.run_dir.paths import SPLITS, SweepPaths

T = TypeVar("T")
_NOT_WRITTEN = "is not what was written (its sha256 does not match)"


@dataclass(frozen=True)
class Prepared:
    """The content of `prepared.json`; `reports` and `reference_keys` are by split."""

    data_sha256: str
    weights_sha256: str
    tokenizer_sha256: str
    reports: Mapping[str, Mapping[str, Any]]
    reference_keys: Mapping[str, str]
    reference_computed: Mapping[str, bool]
    row_tokens: int = DEFAULT_ROW_TOKENS
    gradient_checkpointing: bool = False
    findings: Sequence[FindingJson] = ()
    """Of the audit, by severity."""
    golden_dropped: Sequence[str] = ()
    """Golden answers that made no pair, and why."""
    rows_refused: Sequence[str] = ()
    """Pairs that could not be encoded and were left out, and why."""
    not_shared: str | None = None
    """Why prompts cannot be shared between a pair's answers, if they cannot."""
    row_layout: str = ""
    """A `RowLayout`; empty in sweeps of earlier versions."""
    score_dtype: str = ""
    """The dtype in which held-out pairs are scored; empty: the model's dtype."""
    margin_noise: float = 0.0
    """Root mean square of the difference between `score_dtype` and float32 in a pair's margin, nats."""
    model_noise: float = 0.0
    """The same of the model's dtype, in which pairs are trained."""
    scoring_shares: Mapping[str, float] = field(default_factory=dict)
    """Share of the sweep's compute that scoring held-out pairs takes, by dtype."""
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the files of splits and tokens, by name; empty in sweeps of earlier versions."""
    adapter_coverage: CoverageJson | None = None
    """How much of the model an adapter changes; None without one and in sweeps of earlier versions."""
    reference_sha256: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the reference's numbers, by split."""
    model_check: ModelCheckJson | None = None
    """The check of the base model; None in sweeps of earlier versions."""

    @property
    def layout(self) -> RowLayout:
        """Return how the pairs of a row go through the model."""
        if self.row_layout:
            return RowLayout(self.row_layout)
        return RowLayout.PACKED if self.not_shared is None else RowLayout.PLAIN

    def resolved_training(self, training: TrainingSettings) -> TrainingSettings:
        """Return the settings with what depends on the device as it was when preparing."""
        chosen = {n: getattr(self, n) for n in ("row_tokens", "gradient_checkpointing")}
        return training.model_copy(update=chosen)

    @classmethod
    def read(cls, paths: SweepPaths) -> Prepared:
        """Read `prepared.json`. Raises DamagedFile when it is missing or damaged."""
        content = json_files.PREPARED.required(paths.store, paths.prepared)
        try:
            return cls(**content)
        except TypeError as error:
            problem = f"was written by another version ({error})"
            raise json_files.PREPARED.damaged(paths.store, paths.prepared, problem) from None


def precision_in_words(score_dtype: str, model_noise: float) -> str:
    """Say in which precision held-out pairs are scored, and what the model's dtype does to a margin.

    Args:
        score_dtype: The dtype of scoring; empty where an earlier version prepared the sweep.
        model_noise: Root mean square that the model's dtype adds to a margin, nats; 0 in float32.

    Returns:
        Words; empty for a sweep whose model computes in float32 anyway.
    """
    if not score_dtype or not model_noise:
        return ""
    noise = f"{model_noise:.2g} nats (root mean square)"
    if score_dtype == FLOAT32:
        return f"{score_dtype}; the model's own dtype would move a margin by {noise}"
    return f"{score_dtype}, which moves a margin by {noise}"


def float32_price(score_dtype: str, scoring_shares: Mapping[str, float]) -> float | None:
    """Return how many times as much a sweep costs that scores in float32.

    Args:
        score_dtype: The dtype in which this sweep scores.
        scoring_shares: Share of the sweep's compute that scoring takes, by dtype, in [0, 1).

    Returns:
        The factor; None where an earlier version did not store the shares.
    """
    if not {score_dtype, FLOAT32} <= scoring_shares.keys():
        return None
    return (1 - scoring_shares[score_dtype]) / (1 - scoring_shares[FLOAT32])


def read_pairs(paths: SweepPaths) -> PreferenceSplits:
    """Read the splits as the data gave them, without generated answers. Raises DamagedFile."""
    kind = json_files.PAIRS_DIGESTS
    files: Mapping[str, str] = (kind.optional(paths.store, paths.pairs_digests) or {}).get(
        "files", {}
    )
    return PreferenceSplits(*(_open(paths, paths.pairs(s), PairTable.open, files) for s in SPLITS))


def read_encoded(paths: SweepPaths, split: str) -> TokenTable:
    """Map the tokens of a split's pairs into memory. Raises DamagedFile."""
    return _open(paths, paths.encoded(split), TokenTable.open, _digests(paths))


def read_split(
    paths: SweepPaths, split: str, ids: Collection[str] | None = None
) -> list[dict[str, Any]]:
    """Read the normalized pairs of a split.

    Args:
        paths: The run directory.
        split: `train`, `select` or `final`.
        ids: The pairs that are wanted; None for all of them. The lines of others are not parsed.

    Returns:
        One row a pair, in the order of the file.

    Raises:
        DamagedFile: It is not the file that was written.
    """
    name = paths.split(split)
    try:
        content = paths.store.read(name)
    except FileNotFoundError:
        raise _damaged(paths, name, "is missing") from None
    digests = _digests(paths)
    if digests.get(name) not in (None, hashlib.sha256(content).hexdigest()):
        raise _damaged(paths, name, _NOT_WRITTEN)
    lines = content.splitlines()
    tokens = _open(paths, paths.encoded(split), TokenTable.open, digests)
    if not content.endswith(b"\n") or len(lines) != len(tokens):
        raise _damaged(paths, name, "is cut off")
    if ids is not None:
        quoted = [json.dumps(each).encode() for each in ids]
        lines = [line for line in lines if any(each in line for each in quoted)]
    try:
        rows = [(row["id"], row) for row in map(json.loads, lines)]
    except (ValueError, TypeError, KeyError):
        raise _damaged(paths, name, "is damaged") from None
    return [row for id, row in rows if ids is None or id in ids]


def _digests(paths: SweepPaths) -> Mapping[str, str]:
    """Return the digests of splits and tokens: none before the sweep is prepared."""
    content = json_files.PREPARED.optional(paths.store, paths.prepared) or {}
    digests: Mapping[str, str] = content.get("files", {})
    return digests


def _open(
    paths: SweepPaths, name: str, open_file: Callable[[Path], T], digests: Mapping[str, str]
) -> T:
    try:
        file = paths.store.local_file(name)
        if digests.get(name) not in (None, file_sha256(file)):
            raise _damaged(paths, name, _NOT_WRITTEN)
        return open_file(file)
    except FileNotFoundError:
        raise _damaged(paths, name, "is missing") from None
    except (ValueError, OSError):  # what Arrow says of a part of a file
        raise _damaged(paths, name, "is damaged") from None


def _damaged(paths: SweepPaths, name: str, problem: str) -> DamagedFile:
    return json_files.PREPARED.damaged(paths.store, name, problem)


def read_labels(paths: SweepPaths, split: str) -> dict[str, dict[str, str | None]]:
    """Read source and category of each pair, by its id. Raises DamagedFile."""
    pairs = read_encoded(paths, split)
    kinds = ("source", "category")
    return {kind: dict(zip(pairs.ids, pairs.labels(kind), strict=True)) for kind in kinds}


def read_reference(paths: SweepPaths, prepared: Prepared, split: str, pairs: TokenTable) -> Columns:
    """Read the reference log-probs of a split.

    Args:
        paths: The run directory.
        prepared: Its `prepared.json`, which has the key of the cache entry.
        split: `train`, `select` or `final`.
        pairs: The split's tokens, which the entry must fit.

    Returns:
        Columns of shape (pairs,), in the order of `pairs`.

    Raises:
        UserError: The entry was removed or damaged.
    """
    key, digest = prepared.reference_keys[split], prepared.reference_sha256.get(split)
    columns = reference_cache.load(paths.reference_cache, key, pairs, digest)
    if columns is None:
        raise UserError(
            f"{paths.reference_cache.uri}/{key} is gone or damaged; `dpo-sweeps resume` computes it "
            "again"
        )
    return columns
