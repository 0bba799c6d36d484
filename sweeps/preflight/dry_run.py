"""Data read, split and encoded as a run would do it, for the commands that only look at them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo_core.audit.pair_checks import Finding, audit
from dpo_core.preferences import LoadedData, PreferenceSplits
from sweeps.config.schema import SweepConfig
from sweeps.prepare.data import Encoded, encode_splits, expected_pairs, read_data, split_data
from sweeps.run_dir.paths import SPLITS


@dataclass(frozen=True)
class Rehearsal:
    """Golden answers have something in place of what the model will say."""

    data: LoadedData
    splits: PreferenceSplits
    tokenizer: Any
    tokens: Encoded
    findings: Sequence[Finding]


@contextmanager
def rehearsed(config: SweepConfig) -> Iterator[Rehearsal]:
    """The tokens are in a folder that goes away with the block. Raises UserError as `run` would."""
    from dpo_core.models.load import load_tokenizer, silence_libraries

    silence_libraries()
    data = read_data(config)
    splits = split_data(config, expected_pairs(data))
    tokenizer = load_tokenizer(config.model)
    with tempfile.TemporaryDirectory(prefix="dpo-sweeps-") as folder:
        tokens = encode_splits(config, splits, tokenizer, Path(folder))
        by_split = {split: getattr(splits, split) for split in SPLITS}
        findings = audit(by_split, tokens, config.data.max_tokens)
        yield Rehearsal(data, splits, tokenizer, tokens, findings)
