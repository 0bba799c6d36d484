"""Preference pairs read from files and hub data sets, and split by prompt group.

    load_data -> PairTable -> split_pairs -> PreferenceSplits -> split_lines

The package `files` finds files and reads their rows; `layouts` makes rows of the project's own of
these; `formatted` reads messages from rows whose text is already formatted; `notes` collects what is
worth telling of them.

A module imports only modules that stand before it in this list: messages, dialogue, normalization,
pairs, read_messages, parse_row, table, near_duplicates, split_draws, prompt_splits, rankings,
red_team, golden, sources, split.
"""

from __future__ import annotations

from dpo_core.preferences.messages import Message
from dpo_core.preferences.pairs import PreferencePair, as_chat, chat_prompt, to_row
from dpo_core.preferences.parse_row import pair_from_row
from dpo_core.preferences.sources import LoadedData, data_fingerprint, load_data, load_pairs
from dpo_core.preferences.split import PreferenceSplits, split_lines, split_pairs
from dpo_core.preferences.table import PairTable

__all__ = [
    "LoadedData",
    "Message",
    "PairTable",
    "PreferencePair",
    "PreferenceSplits",
    "as_chat",
    "chat_prompt",
    "data_fingerprint",
    "load_data",
    "load_pairs",
    "pair_from_row",
    "split_lines",
    "split_pairs",
    "to_row",
]
