"""A dry run: data read, split and encoded as a run would, for the commands `plan` and `audit`.

Tested in tests/unit/sweeps/preflight/test_plan.py.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dpo_core.audit.findings import Finding
from dpo_core.audit.pair_checks import audit
from dpo_core.preferences import LoadedData, PreferenceSplits
from sweeps.config.schema import SweepConfig
from sweeps.prepare.data import (
    TokenTables,
    encode_splits,
    kept_prompts,
    read_data,
    split_data,
    text_use,
    with_placeholder_answers,
)
from sweeps.run_dir.paths import SPLITS, open_storage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class DryRun:
    """Data as a dry run reads it; golden prompts have placeholders for the model's answers."""

    data: LoadedData
    splits: PreferenceSplits
    tokenizer: PreTrainedTokenizerBase
    tokens: TokenTables
    findings: Sequence[Finding]


@contextmanager
def dry_run(config: SweepConfig) -> Iterator[DryRun]:
    """Read, split and encode a sweep's data; the tokens are deleted at the end of the block.

    Raises:
        UserError: where `run` would.
    """
    from dpo_core.models.load import load_tokenizer, silence_libraries

    silence_libraries()
    storage = open_storage(config.storage)
    data = read_data(config)
    # A laptop that plans a sweep of a cluster may not reach its bucket.
    kept = kept_prompts(storage) if storage.local else {}
    splits = split_data(config, with_placeholder_answers(data), kept)
    tokenizer = load_tokenizer(config.model)
    with tempfile.TemporaryDirectory(prefix="dpo-sweeps-") as folder:
        encoded = encode_splits(config, splits, tokenizer, Path(folder))
        data = replace(data, skipped=(*data.skipped, *encoded.refused))
        by_split = {split: getattr(encoded.splits, split) for split in SPLITS}
        use = text_use(config, tokenizer)
        findings = audit(by_split, encoded.tokens, config.data.max_tokens, use)
        yield DryRun(data, encoded.splits, tokenizer, encoded.tokens, findings)
