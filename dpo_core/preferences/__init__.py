"""Files and hub data sets become preference pairs, split by prompt group.

    load_pairs -> list[PreferencePair] -> split_pairs -> PreferenceSplits -> split_lines

The street of the modules, each knowing only those before it:
messages, dialogue, pairs, rows, strict_json, readers, sources, split.
"""

from __future__ import annotations

from dpo_core.preferences.messages import Message
from dpo_core.preferences.pairs import PreferencePair, as_chat, to_row
from dpo_core.preferences.rows import pair_from_row
from dpo_core.preferences.sources import data_fingerprint, load_pairs
from dpo_core.preferences.split import (
    PreferenceSplits,
    split_lines,
    split_pairs,
)

__all__ = [
    "Message",
    "PreferencePair",
    "PreferenceSplits",
    "as_chat",
    "data_fingerprint",
    "load_pairs",
    "pair_from_row",
    "split_lines",
    "split_pairs",
    "to_row",
]
