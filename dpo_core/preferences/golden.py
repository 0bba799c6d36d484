"""Golden answers: a prompt and what an expert answered. The rejected side is the model's own answer.

    {"prompt": "Can I double my dose?", "golden": "No. Please ask …", "category": "dosage"}

Such a pair waits until the reference model has answered its prompt (see `golden_answers`). What the
model itself says is never out of its distribution, so every pair has a gradient: the remedy for
rejected answers that nobody would write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dpo_core.errors import DataError
from dpo_core.preferences.messages import preview
from dpo_core.preferences.pairs import PreferencePair, as_chat, chat_answer
from dpo_core.preferences.parse_row import pair_from_row
from dpo_core.preferences.readers import Record

_PLACEHOLDER = " (the model's own answer)"


def read_golden(record: Record) -> PreferencePair:
    """A pair whose rejected side is empty. Its id and group come from prompt and golden answer.

    Raises DataError that begins with the place of the row.
    """
    row, where = record.row, record.where
    if not isinstance(row, Mapping) or not {"prompt", "golden"} <= set(row):
        raise DataError(f"{where}: {preview(row)} must be an object with `prompt` and `golden`")
    # The checks of a pair need a second answer; this one is never seen.
    checked: dict[str, Any] = {
        "prompt": row["prompt"],
        "chosen": row["golden"],
        "rejected": _PLACEHOLDER,
        "category": row.get("category"),
    }
    return replace(pair_from_row(checked, where=where, line=record.line), rejected=())


def is_unanswered(pair: PreferencePair) -> bool:
    return not pair.rejected


def with_placeholder_answer(pair: PreferencePair) -> PreferencePair:
    """For estimates: as if the model's answer were as long as the golden one."""
    chat = as_chat(pair)
    *before, last = chat_answer(chat.chosen)
    longer = {**last, "content": last["content"] + _PLACEHOLDER}
    return replace(chat, rejected=(*before, longer))


def with_model_answer(pair: PreferencePair, answer: str) -> PreferencePair | str:
    """The pair with the model's answer, or why there is none."""
    chat = as_chat(pair)
    golden = chat_answer(chat.chosen)[-1]["content"]
    if not answer.strip():
        return f"line {pair.line}: the model answers nothing"
    if answer.strip() == golden.strip():
        return f"line {pair.line}: the model gives the golden answer already"
    if isinstance(pair.prompt, str):
        return replace(pair, rejected=answer)
    return replace(chat, rejected=chat_answer(answer))
