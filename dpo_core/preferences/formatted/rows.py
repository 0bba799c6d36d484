"""Rows whose text is already formatted become rows of messages; every kind of source has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from dpo_core.errors import DataError
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.formatted.markups import ASSISTANT, DIALOGUE, RENDERED, USER, Format
from dpo_core.preferences.formatted.parse import (
    continues_turn,
    parse_answer,
    parse_prompt,
    parse_whole,
    recognise,
    recognise_dialogue,
    without_begins,
    without_end,
)
from dpo_core.preferences.messages import Message, content_of

_ANSWERS = ("chosen", "rejected", "response", "golden")
_LISTS_OF_ANSWERS = ("responses",)
_LOOKED_FOR: dict[Format, str] = {
    RENDERED: "text that a chat template has rendered (ChatML, Llama, Mistral, Gemma, …)",
    DIALOGUE: "a dialogue such as 'Human: … Assistant: …'",
}


def read_formatted(records: Iterator[Record], format: Format, path: str) -> Iterator[Record]:
    """Yield records whose formatted texts are messages; others stay as they are.

    Args:
        records: Rows with the columns of their kind of source.
        format: Which kind of markup to look for.
        path: The source, for an error message.

    Raises:
        DataError: No row has such text, so the setting does nothing.
    """
    is_used, rows = False, 0
    for record in records:
        rows += 1
        row = record.row
        if isinstance(row, Mapping):
            try:
                read = messages_of_row(row, format)
            except DataError as error:
                yield record._replace(row=DataError(f"{record.where}: {error}"))
                is_used = True
                continue
            is_used = is_used or read != row
            record = record._replace(row=read)
        yield record
    if rows and not is_used:
        raise DataError(
            f"{path}: none of {rows} rows holds {_LOOKED_FOR[format]}, as format: {format} says; "
            "leave `format` out, or give it to those of data.sources that need it"
        )


def messages_of_row(row: Mapping[str, Any], format: Format) -> dict[str, Any]:
    """Return the row with messages in place of texts that are already formatted.

    Tokens that end a turn are removed from the ends of answers, also where the prompt is plain text.
    Raises DataError for text without a role.

    Args:
        row: Values by column.
        format: Which kind of markup to look for.
    """
    answers = _answers_of(row)
    prompt = row.get("prompt")
    if isinstance(prompt, str):
        read = _with_prompt(prompt, answers, format)
        filled = _filled(row, read.answers)
        del filled["prompt"]
        return filled if read.prompt is None else {"prompt": read.prompt, **filled}
    plain = {slot: _whole(value, format) for slot, value in answers.items()}
    return _filled(row, plain) | ({"prompt": _side(prompt, format)} if "prompt" in row else {})


_Slot = tuple[str, int | None]
"""A column, and the position in its list where it holds several answers."""


class _Read(NamedTuple):
    prompt: object
    """None where the answers begin with it."""
    answers: dict[_Slot, object]


def _answers_of(row: Mapping[str, Any]) -> dict[_Slot, object]:
    answers: dict[_Slot, object] = {(name, None): row[name] for name in _ANSWERS if name in row}
    for name in _LISTS_OF_ANSWERS:
        values = row.get(name)
        if isinstance(values, list):
            answers |= {(name, position): value for position, value in enumerate(values)}
    return answers


def _filled(row: Mapping[str, Any], answers: Mapping[_Slot, object]) -> dict[str, Any]:
    """Return the row with these answers in place of its own."""
    filled = dict(row)
    for (name, position), value in answers.items():
        if position is None:
            filled[name] = value
        else:
            filled[name] = [*filled[name][:position], value, *filled[name][position + 1 :]]
    return filled


def _with_prompt(prompt: str, answers: Mapping[_Slot, object], format: Format) -> _Read:
    markup = recognise(prompt, format)
    if markup is None:
        plain = without_begins(prompt)
        return _Read(
            plain,
            {
                slot: _repeating(value, plain, format) or _side(value, format)
                for slot, value in answers.items()
            },
        )
    texts = [value for value in answers.values() if isinstance(value, str)]
    parsed = parse_prompt(prompt, markup)
    if texts and all(continues_turn(text, markup, parsed) for text in texts):
        # The border between prompt and answers was guessed, and fell into a turn of the user.
        return _Read(
            None,
            {
                slot: [*parse_whole(prompt + value, markup)] if isinstance(value, str) else value
                for slot, value in answers.items()
            },
        )
    question = content_of(parsed.turns[-1]) if parsed.turns else ""
    read: dict[_Slot, object] = {}
    for slot, value in answers.items():
        if isinstance(value, str):
            read[slot] = _repeating(value, question, format) or [
                *parse_answer(without_end(value), markup, parsed)
            ]
        else:
            read[slot] = _side(value, format)
    return _Read([*parsed.turns], read)


def _repeating(value: object, question: str, format: Format) -> list[Message] | None:
    """Return the messages of an answer that is a whole text with the question in it, or None."""
    asked = question.strip()
    if not isinstance(value, str) or asked not in value:
        return None
    markup = recognise_dialogue(value, format)
    if markup is None:
        return None
    turns = [*parse_whole(without_end(value), markup)]
    is_asked = any(m["role"] == USER and content_of(m).strip() == asked for m in turns)
    return turns if is_asked else None


def _whole(value: object, format: Format) -> object:
    """Return an answer, or prompt and answer in one text, of a row without a prompt text."""
    markup = recognise_dialogue(value, format) if isinstance(value, str) else None
    if markup is None or not isinstance(value, str):
        return _side(value, format)
    return [*parse_whole(without_end(value), markup)]


def _side(value: object, format: Format) -> object:
    """Return an answer or a list of messages without the tokens around their texts."""
    if isinstance(value, str):
        return without_begins(without_end(value))
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    return [message for item in value for message in _messages(item, format)]


def _messages(item: object, format: Format) -> list[object]:
    """Return a message, or all messages that its text holds."""
    content = item.get("content") if isinstance(item, Mapping) else None
    if not isinstance(item, Mapping) or not isinstance(content, str):
        return [item]
    markup = recognise(content, format)
    if markup is not None and item.get("role") == USER:
        return [*parse_prompt(content, markup).turns]
    if item.get("role") == ASSISTANT:
        content = without_begins(without_end(content))
        if markup is not None:
            return [*parse_whole(content, markup)]
    return [{**item, "content": content}]
