"""Golden answers: an expert's answer is the chosen side, the model's own answer the rejected one.

    {"prompt": "Can I double my dose?", "golden": "No. Please ask …", "category": "dosage"}

A pair has no rejected side until the reference model has answered its prompt; see
`dpo_core.models.golden_answers`. The model's own answers are likely under the model, so every pair
has a gradient. This is the remedy for data whose rejected answers the model would never write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dpo_core.errors import DataError
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.messages import content_of, preview
from dpo_core.preferences.pairs import PreferencePair, as_chat, chat_answer
from dpo_core.preferences.parse_row import pair_from_row

_PLACEHOLDER = " (the model's own answer)"


def read_golden(record: Record) -> PreferencePair:
    """Check a record and return a pair with an empty rejected side.

    Its id and group depend on prompt and golden answer. Raises DataError, whose message begins with
    the file and line of the record.
    """
    row, where = record.row, record.where
    if not isinstance(row, Mapping) or not {"prompt", "golden"} <= set(row):
        raise DataError(f"{where}: {preview(row)} must be an object with `prompt` and `golden`")
    # The checks of a pair need a second answer; this one is removed again.
    checked: dict[str, object] = {
        "prompt": row["prompt"],
        "chosen": row["golden"],
        "rejected": _PLACEHOLDER,
        "category": row.get("category"),
    }
    return replace(pair_from_row(checked, where=where, line=record.line), rejected=())


def is_unanswered(pair: PreferencePair) -> bool:
    """Return whether the pair still needs the model's answer as its rejected side."""
    return not pair.rejected


def with_placeholder_answer(pair: PreferencePair) -> PreferencePair:
    """Return a chat pair whose rejected answer is about as long as the golden one.

    Estimates of lengths and memory use it before the model has answered.
    """
    chat = as_chat(pair)
    *earlier, last = chat_answer(chat.chosen)
    longer = {**last, "content": content_of(last) + _PLACEHOLDER}
    return replace(chat, rejected=(*earlier, longer))


def with_model_answer(pair: PreferencePair, answer: str) -> PreferencePair | str:
    """Return the pair with the model's answer as rejected side, or the reason why it makes no pair."""
    chat = as_chat(pair)
    golden = content_of(chat_answer(chat.chosen)[-1])
    if not answer.strip():
        return f"line {pair.line}: the model answers nothing"
    if answer.strip() == golden.strip():
        return f"line {pair.line}: the model gives the golden answer already"
    if isinstance(pair.prompt, str):
        return replace(pair, rejected=answer)
    return replace(chat, rejected=chat_answer(answer))
