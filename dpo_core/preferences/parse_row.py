"""Rows of preference data, in any of the common shapes, become checked preference pairs.

| prompt   | chosen, rejected            | becomes                                              |
|----------|-----------------------------|------------------------------------------------------|
| string   | strings                     | a text pair                                          |
| any      | messages, or either of them | a chat pair; a prompt repeated in both is removed    |
| messages | strings                     | a chat pair                                          |
| none     | messages                    | a chat pair; the prompt is what both begin with      |
| none     | "\\n\\nHuman: ..." strings  | a chat pair, the same way                            |

A `system` text comes first in the prompt and makes a chat pair. `tools` and `chat_template_kwargs` go
to the chat template; `category` breaks results down; `weight` and `margin` are numbers for the loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from dpo_core.errors import DataError
from dpo_core.preferences.dialogue import parse_dialogue
from dpo_core.preferences.messages import (
    Message,
    Turns,
    check_answer,
    check_prompt,
    common_prefix,
    content_of,
    preview,
    system,
)
from dpo_core.preferences.pairs import PreferencePair, chat_answer, chat_prompt, make_pair
from dpo_core.preferences.read_messages import (
    read_field,
    read_system,
    read_template_kwargs,
    read_tools,
)

SAME_ANSWER = "are the same answer"


class _Fields(NamedTuple):
    prompt: Turns | str
    chosen: Turns | str
    rejected: Turns | str


def pair_from_row(
    row: Mapping[str, object], *, where: str, line: int = 0, source: str | None = None
) -> PreferencePair:
    """Check a row and return it as a pair.

    Args:
        row: Values by column; others than those above are ignored.
        where: File and line of the row, such as "pairs.jsonl:3"; it begins every error message.
        line: The line or row it was read from, from 1; 0 if from no file.
        source: The label of its source.

    Returns:
        The pair, with its id and group.

    Raises:
        DataError: A column is missing, or its value is not what the column is for.
    """
    _check_columns(row, where)
    fields = _with_system(_separate(row, where), row.get("system"), where)
    _check(fields, where)
    pair = make_pair(
        *fields,
        line=line,
        category=_category(row, where),
        tools=read_tools(row.get("tools"), f"{where}: tools"),
        template_kwargs=read_template_kwargs(
            row.get("chat_template_kwargs"), f"{where}: chat_template_kwargs"
        ),
        source=source,
    )
    weight, margin = _number(row, "weight", where), _number(row, "margin", where)
    if weight is None and margin is None:
        return pair
    if weight is not None and weight <= 0:
        raise DataError(
            f"{where}: weight {weight:g} must be above 0; drop a pair that must not count"
        )
    return replace(pair, weight=weight, margin=margin)


SHARED_COLUMNS = (
    "prompt",
    "system",
    "tools",
    "chat_template_kwargs",
    "category",
    "weight",
    "margin",
)
"""Columns that a row of another kind than pairs hands on to its pairs."""

OTHER_ANSWER = " (the model's own answer)"
"""Stands where a half pair has no answer yet; the ids of golden pairs depend on it."""


def shared_values(row: Mapping[str, object]) -> dict[str, object]:
    """Return what a row of another kind than pairs hands on to its pairs."""
    return {name: row[name] for name in SHARED_COLUMNS if name in row}


def read_answer(answer: object, where: str) -> Turns | str:
    """Check an answer and return it. Raises DataError, whose message begins with `where`."""
    content = read_field(answer, where)
    check_answer(chat_answer(content), where)
    return content


def half_pair(row: Mapping[str, object], name: str, *, where: str, line: int = 0) -> PreferencePair:
    """Check one answer to the prompt of a row, and return it as a pair without a rejected side.

    Args:
        row: Values by column, with a prompt.
        name: The column with the answer.
        where: File and line of the row; it begins every error message.
        line: The line or row it was read from, from 1; 0 if from no file.

    Returns:
        The pair; its id depends on prompt and answer.

    Raises:
        DataError: The answer is none, or a shared column has a value that it is not for.
    """
    # The checks of a pair need a second answer; this one is removed again.
    sides = {"chosen": read_answer(row[name], f"{where}: {name}"), "rejected": OTHER_ANSWER}
    return replace(pair_from_row(shared_values(row) | sides, where=where, line=line), rejected=())


def _check_columns(row: Mapping[str, object], where: str) -> None:
    missing = [name for name in ("chosen", "rejected") if name not in row]
    if missing:
        columns = ", ".join(map(str, row)) or "none"
        raise DataError(
            f"{where}: missing {_columns(missing)} (found: {columns}); a preference pair has "
            "`prompt`, `chosen` and `rejected`, so add or rename columns"
        )


def _columns(names: list[str]) -> str:
    return ("column " if len(names) == 1 else "columns ") + " and ".join(f"`{n}`" for n in names)


def _separate(row: Mapping[str, object], where: str) -> _Fields:
    """Divide a row into its prompt and its two answers."""
    chosen, rejected = (
        read_field(row[name], f"{where}: {name}") for name in ("chosen", "rejected")
    )
    if "prompt" not in row:
        return _without_prompt(*_dialogues(chosen, rejected, row, where))
    prompt = read_field(row["prompt"], f"{where}: prompt")
    if isinstance(prompt, str) and isinstance(chosen, str) and isinstance(rejected, str):
        return _Fields(prompt, chosen, rejected)
    return _without_repetition(prompt, chat_answer(chosen), chat_answer(rejected))


def _dialogues(
    chosen: Turns | str, rejected: Turns | str, row: Mapping[str, object], where: str
) -> tuple[Turns, Turns]:
    """Return both answers as whole dialogues, for a row without a prompt."""
    left = parse_dialogue(chosen) if isinstance(chosen, str) else chosen
    right = parse_dialogue(rejected) if isinstance(rejected, str) else rejected
    if left is None or right is None:
        name, text = ("chosen", chosen) if left is None else ("rejected", rejected)
        raise DataError(
            f"{where}: missing column `prompt` (found: {', '.join(map(str, row))}), and {name} "
            rf"{preview(text)} is not a dialogue of '\n\nHuman:' and '\n\nAssistant:' turns; "
            "add a `prompt` column"
        )
    return left, right


def _without_prompt(chosen: Turns, rejected: Turns) -> _Fields:
    shared = common_prefix(chosen, rejected)
    if chosen == rejected:
        shared = shared[:-1]  # keeps a prompt, so that the check of the answers reports the error
    return _Fields(shared, chosen[len(shared) :], rejected[len(shared) :])


def _without_repetition(prompt: Turns | str, chosen: Turns, rejected: Turns) -> _Fields:
    """Remove the prompt from both answers where both repeat it, as in UltraFeedback."""
    repeated = _without_prompt(chosen, rejected)
    if isinstance(prompt, str):
        # What both answers repeat may be more than the string: a system message, or earlier turns.
        asked = [content_of(m).strip() for m in chat_prompt(repeated.prompt) if m["role"] == "user"]
        if prompt.strip() in asked:
            return repeated
    elif chosen[: len(prompt)] == rejected[: len(prompt)] == prompt:
        return _Fields(prompt, chosen[len(prompt) :], rejected[len(prompt) :])
    return _Fields(chat_prompt(prompt), chosen, rejected)


def _with_system(fields: _Fields, value: object, where: str) -> _Fields:
    """Put the text of a system column before the prompt, unless the prompt begins with it already."""
    if value is None or value == "":
        return fields
    value = read_system(value, f"{where}: system")
    prompt = chat_prompt(fields.prompt)
    present = [content_of(message) for message in prompt if message["role"] == "system"]
    if present and present != [value]:
        raise DataError(
            f"{where}: system {preview(value)} differs from the prompt's own system message "
            f"{preview(present[0])}; keep one of them"
        )
    if not present:
        prompt = (system(value), *prompt)
    return _Fields(prompt, chat_answer(fields.chosen), chat_answer(fields.rejected))


def _check(fields: _Fields, where: str) -> None:
    chosen, rejected = chat_answer(fields.chosen), chat_answer(fields.rejected)
    check_answer(chosen, f"{where}: chosen")
    check_answer(rejected, f"{where}: rejected")
    check_prompt(chat_prompt(fields.prompt), f"{where}: prompt")
    same_end = content_of(chosen[-1]).strip() == content_of(rejected[-1]).strip()
    if same_end and _stripped(chosen) == _stripped(rejected):
        raise DataError(
            f"{where}: chosen and rejected {SAME_ANSWER} {preview(content_of(chosen[-1]))}; "
            "they express no preference, so drop the row"
        )


def _stripped(answer: Turns) -> list[Message]:
    return [{**message, "content": content_of(message).strip()} for message in answer]


def _category(row: Mapping[str, object], where: str) -> str | None:
    """Return the category, by which results are broken down, or None where it is blank or null.

    A number is one too: 3 and 3.0, which tables with gaps make of it, are the category `3`.
    """
    value = row.get("category")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = None if math.isnan(value) else str(value)
    if value is not None and not isinstance(value, str):
        raise DataError(
            f"{where}: category {preview(value)} must be a text or a number; write it so, or rename a "
            "column that means something else"
        )
    return value if value and value.strip() else None


def _number(row: Mapping[str, object], name: str, where: str) -> float | None:
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{where}: {name} {preview(value)} must be a finite number")
    return float(value)
