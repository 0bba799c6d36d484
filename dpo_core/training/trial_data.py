"""The data that a trial trains on and is evaluated on.

Tested in tests/unit/dpo_core/training/test_trainer.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dpo_core.encoding.token_table import EncodedPair
from dpo_core.scoring.reference_cache import Columns
from dpo_core.scoring.row_layout import RowLayout


@dataclass(frozen=True)
class TrialData:
    """Encoded pairs of the two splits a trial may see, and the reference's columns for each."""

    train: Sequence[EncodedPair]
    select: Sequence[EncodedPair]
    train_reference: Columns
    select_reference: Columns
    layout: RowLayout = RowLayout.PACKED  # of rows; see `prompt_sharing`
    weights: Mapping[str, float] = field(default_factory=dict)  # by source; empty: as it has pairs
    score_dtype: str = ""  # of `select_reference`; empty: the model's dtype
