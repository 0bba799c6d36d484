"""Reads prompts, answers, tools and template settings from the values of a row.

Messages come in several spellings and become one: `from`/`value` of ShareGPT, the role `developer`,
`thinking`, text in parts, one message that is not in a list, a list that is written as JSON. What
is no text, such as an image, is refused: a model would be trained on less than the row says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from dpo_core.errors import DataError
from dpo_core.preferences.messages import Message, Turns, preview

ROLES = ("system", "user", "assistant", "tool")
_OTHER_NAMES = {
    "developer": "system",
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "observation": "tool",
    "tool_response": "tool",
    "prompter": "user",
}
_TEXT_KEYS = ("name", "tool_call_id", "reasoning_content")
_KEYS = ("role", "content", *_TEXT_KEYS, "tool_calls")
_SPELLINGS = {
    "from": "role",
    "value": "content",
    "text": "content",
    "parts": "content",
    "thinking": "reasoning_content",
    "reasoning": "reasoning_content",
}
# What data sets write beside a message, and what no template shows to a model.
_HARMLESS = frozenset(
    {"id", "message_id", "turn_identifier", "index", "timestamp", "created_at", "create_time"}
    | {"language", "lang", "model", "author", "source", "metadata", "annotations", "rank"}
    | {"redacted", "toxic", "header", "state", "country", "hashed_ip"}
    | {"num_tokens", "token_count", "tokens", "score", "scores"}
)
_PRINTED_BY_PYTHON = re.compile(r"\[\{'(role|content|from|value)': *['\"]")
# Turns of ShareGPT in which the assistant calls a tool, with the call as a text of JSON.
_CALL_ROLES = ("function_call", "tool_call")
_PART_OF_TEXT = ("text", "input_text", "output_text")


def read_field(value: object, where: str) -> Turns | str:
    """Check that a prompt or answer is a string, a message or a list of messages, and return it.

    A string that is a JSON list of messages is read as that list, and a list of parts as their text.

    Raises:
        DataError: It is anything else; the error begins with `where`.
    """
    if isinstance(value, str):
        messages = _written_as_json(value)
        if messages is None:
            _refuse_python_messages(value, where)
            return _read_text(value, where)
        value = messages
    if isinstance(value, Mapping) and _is_message(value):
        value = [value]
    if _are_parts(value):
        return _read_content(value, where)
    if not isinstance(value, list | tuple):
        raise DataError(
            f"{where}: {preview(value)} is {_kind(value)}, but must be a string or a list of "
            'messages like {"role": "user", "content": "Hello"}'
        )
    if not value:
        raise DataError(f"{where}: the list of messages is empty; give at least one message")
    return tuple(_read_message(item, f"{where}, message {n}") for n, item in enumerate(value, 1))


def read_system(value: object, where: str) -> str:
    """Return the system text of a row: a string, a list of parts, or an object with `parts`.

    Either may be written as JSON. Raises DataError, which begins with `where`, for anything else.
    """
    content = _from_json(value)
    if isinstance(content, Mapping) and "parts" in content:
        content = content["parts"]
    if _are_parts(content):
        return _read_content(content, where)
    if not isinstance(value, str):
        raise DataError(f"{where} {preview(value)} must be a string")
    return value


def read_tools(value: object, where: str) -> tuple[dict[str, Any], ...]:
    """Return the tools that a row lists, as objects; none for null or an empty list.

    The list, or each tool, may be written as JSON.

    Raises:
        DataError: It is no list of objects; the error begins with `where`.
    """
    items = _from_json(value)
    if items is None or items == "":
        return ()
    if isinstance(items, Sequence) and not isinstance(items, str):
        tools = [_from_json(item) for item in items]
        if all(isinstance(tool, Mapping) and tool for tool in tools):
            return tuple(_without_nulls(tool) for tool in tools)
    raise DataError(
        f"{where}: {preview(value)} must be a list of tools, each an object with its name and "
        "parameters"
    )


def read_template_kwargs(value: object, where: str) -> dict[str, Any]:
    """Return the settings that a row hands to the chat template; none for null or an empty object.

    Raises:
        DataError: It is no object with text as keys; the error begins with `where`.
    """
    settings = _from_json(value)
    if settings is None or settings == "":
        return {}
    if not isinstance(settings, Mapping) or not all(isinstance(name, str) for name in settings):
        raise DataError(
            f'{where}: {preview(value)} must be an object, such as {{"enable_thinking": false}}'
        )
    return {name: setting for name, setting in settings.items() if setting is not None}


def _written_as_json(text: str) -> list[Any] | None:
    """Return the messages that a text spells out as JSON, or None for any other text."""
    if not text.lstrip().startswith(("[{", "[ {", "[\n", '{"')):
        return None
    items = _from_json(text)
    if isinstance(items, Mapping):
        items = [items]
    if isinstance(items, list) and items and all(map(_is_message, items)):
        return items
    return None


def _refuse_python_messages(text: str, where: str) -> None:
    """Raise DataError for messages as Python prints them, which a table in CSV often holds."""
    if text.startswith("[{") and _PRINTED_BY_PYTHON.match(text):
        raise DataError(
            f"{where}: {preview(text)} is a list of messages as Python prints it, which is not JSON; "
            "write the column with json.dumps"
        )


def _is_message(item: object) -> bool:
    return isinstance(item, Mapping) and (
        ("role" in item and ("content" in item or "tool_calls" in item))
        or ("from" in item and "value" in item)
        or ("role" in item and ("text" in item or "parts" in item))
    )


def _are_parts(value: object) -> bool:
    """Return whether a value is a list of the parts of one message, of which one is a text."""
    if not isinstance(value, list | tuple):
        return False
    parts = [
        {key for key in item if item[key] is not None}
        for item in value
        if isinstance(item, Mapping)
    ]
    return (
        len(parts) == len(value)
        and any("text" in keys for keys in parts)
        and all(
            keys <= {"type", "text"} or keys.isdisjoint({"text", "role", "from"}) for keys in parts
        )
    )


def _read_message(item: object, where: str) -> Message:
    if not isinstance(item, Mapping):
        raise DataError(f"{where}: {preview(item)} must be an object with `role` and `content`")
    # Arrow gives every message of a column the same keys, with null where one had none.
    kept = {
        key: value
        for key, value in item.items()
        if value is not None and value != [] and key not in _HARMLESS
    }
    message = {_SPELLINGS.get(key, key): value for key, value in kept.items()}
    if len(message) < len(kept):
        raise DataError(
            f"{where}: keys {', '.join(map(str, kept))} give one thing twice; keep one of them"
        )
    if message.get("role") in _CALL_ROLES and "content" in message:
        message = _calling(message.pop("content"))
    if "role" not in message or not {"content", "tool_calls"} & set(message):
        raise DataError(
            f"{where}: keys {', '.join(map(str, item)) or 'none'}; a message has `role` and "
            "`content`, so rename or add them"
        )
    unknown = [key for key in message if key not in _KEYS]
    if unknown:
        raise DataError(
            f"{where}: key {unknown[0]!r} with {preview(message[unknown[0]])} cannot be trained on; "
            f"a message has {', '.join(_KEYS)}, so rename or drop the key"
        )
    read: Message = {"role": _role(message["role"], where)}
    if "content" in message:
        read["content"] = _read_content(message["content"], where)
    for key in _TEXT_KEYS:
        if key in message:
            read[key] = _read_text(message[key], f"{where}: {key}")
    if "tool_calls" in message:
        read["tool_calls"] = _tool_calls(message["tool_calls"], where)
    return read


def _calling(content: object) -> dict[str, Any]:
    """Return a message of the assistant that calls the tools in a text of JSON, as ShareGPT has it."""
    value = _from_json(content)
    calls = [
        {"type": "function", "function": call}
        if isinstance(call, Mapping) and "name" in call
        else call
        for call in (value if isinstance(value, list) else [value])
    ]
    return {"role": "assistant", "tool_calls": calls}


def _role(role: object, where: str) -> str:
    name = _OTHER_NAMES.get(role, role) if isinstance(role, str) else role
    if name not in ROLES:
        raise DataError(f"{where}: role {preview(role)} must be one of {', '.join(ROLES)}")
    return str(name)


def _read_content(value: object, where: str) -> str:
    """Return the text of a message, whose parts are joined as they are."""
    if not isinstance(value, list | tuple):
        return _read_text(value, f"{where}: content")
    texts = []
    for part in value:
        if isinstance(part, Mapping):
            kind, text = _kind_of_part(part), part.get("text")
            if kind not in _PART_OF_TEXT or text is None:
                raise DataError(
                    f"{where}: content has a part of type {preview(kind)}; only text can be trained "
                    "on, so drop the row"
                )
            part = text
        texts.append(_read_text(part, f"{where}: content"))
    return "".join(texts)


def _kind_of_part(part: Mapping[str, Any]) -> object:
    """Return what a part of a message is: its type, or its first key that is not its text.

    Google has `{text}`, `{inlineData}` and `{functionCall}`; `{text, thought: true}` is no text.
    """
    others = (key for key in part if key not in ("type", "text") and part[key])
    is_plain = part.get("text") is not None and not part.get("thought")
    return part.get("type") or ("text" if is_plain else next(others, "text"))


def _tool_calls(value: object, where: str) -> list[dict[str, Any]]:
    """Return calls of tools with their arguments as objects, as templates expect them."""
    calls = _from_json(value)
    if not isinstance(calls, list | tuple) or not all(isinstance(call, Mapping) for call in calls):
        raise DataError(
            f"{where}: tool_calls {preview(value)} must be a list of objects, each with a function's "
            "name and arguments"
        )
    return [_with_parsed_arguments(_without_nulls(call)) for call in calls]


def _with_parsed_arguments(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function", call)
    arguments = _from_json(function.get("arguments")) if isinstance(function, Mapping) else None
    if not isinstance(arguments, Mapping):
        return call
    parsed = {**function, "arguments": dict(arguments)}
    return {**call, "function": parsed} if "function" in call else parsed


def _without_nulls(value: Any) -> Any:
    """Return objects without null values, which Arrow adds where rows have different keys."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(item) for item in value]
    return value


def _from_json(value: object) -> Any:
    """Return what a text spells out as a JSON list or object, and any other value as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _read_text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise DataError(
            f"{where} {preview(value)} is {_kind(value)}, but must be a string; "
            "only text can be trained on"
        )
    if "\0" in value:
        raise DataError(
            f"{where}: {preview(value)} holds a null character, which is not text; replace or drop it"
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}: character {error.start + 1} of {preview(value)} is half a surrogate pair, "
            "which is not text; replace or drop it"
        ) from None
    return value


def _kind(value: object) -> str:
    return "null" if value is None else f"of type {type(value).__name__}"
