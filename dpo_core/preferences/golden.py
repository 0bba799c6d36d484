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
from dpo_core.preferences.normalization import normalize_text
from dpo_core.preferences.pairs import PreferencePair, as_chat, chat_answer
from dpo_core.preferences.parse_row import OTHER_ANSWER, half_pair


def read_golden(record: Record) -> PreferencePair:
    """Check a record and return a pair with an empty rejected side.

    Its id and group depend on prompt and golden answer. Raises DataError, whose message begins with
    the file and line of the record.
    """
    row, where = record.row, record.where
    if not isinstance(row, Mapping) or not {"prompt", "golden"} <= set(row):
        raise DataError(f"{where}: {preview(row)} must be an object with `prompt` and `golden`")
    return half_pair(row, "golden", where=where, line=record.line)


def is_unanswered(pair: PreferencePair) -> bool:
    """Return whether the pair still needs the model's answer as its rejected side."""
    return not pair.rejected


def with_placeholder_answer(pair: PreferencePair) -> PreferencePair:
    """Return a chat pair whose rejected answer is about as long as the golden one.

    Estimates of lengths and memory use it before the model has answered.
    """
    chat = as_chat(pair)
    *earlier, last = chat_answer(chat.chosen)
    longer = {**last, "content": content_of(last) + OTHER_ANSWER}
    return replace(chat, rejected=(*earlier, longer))


def with_model_answer(pair: PreferencePair, answer: str) -> PreferencePair | str:
    """Return the pair with the model's answer as rejected side, or the reason why it makes no pair."""
    chat = as_chat(pair)
    golden = content_of(chat_answer(chat.chosen)[-1])
    if not answer.strip():
        return f"line {pair.line}: the model answers nothing"
    if normalize_text(answer) == normalize_text(golden):
        return f"line {pair.line}: the model gives the golden answer already"
    if isinstance(pair.prompt, str):
        return replace(pair, rejected=answer)
    return replace(chat, rejected=chat_answer(answer))
