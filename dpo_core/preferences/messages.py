"""Chat messages, and the checks that make a list of them a prompt or an answer."""

from __future__ import annotations

from collections.abc import Mapping

from dpo_core.errors import DataError

Message = dict[str, str]
"""{"role": ..., "content": ...}"""

Turns = tuple[Message, ...]

EMPTY_ANSWER = "the answer is empty"
ROLES = ("system", "user", "assistant", "tool")


def user(content: str) -> Message:
    """Return a message with the role of the user."""
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    """Return a message with the role of the assistant."""
    return {"role": "assistant", "content": content}


def preview(value: object, limit: int = 60) -> str:
    """Return the value on one line, cut to `limit` characters, for an error message."""
    # Half a surrogate pair cannot be printed as it is.
    text = repr(value).encode(errors="backslashreplace").decode()
    return text if len(text) <= limit else text[: limit - 3] + "..."


def common_prefix(left: Turns, right: Turns) -> Turns:
    """Return the messages that both lists begin with."""
    length = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        length += 1
    return left[:length]


def read_field(value: object, where: str) -> Turns | str:
    """Check that a prompt or answer is a string or a non-empty list of messages, and return it.

    Raises DataError, whose message begins with `where`, for anything else.
    """
    if isinstance(value, str):
        return _read_text(value, where)
    if not isinstance(value, list | tuple):
        raise DataError(
            f"{where}: {preview(value)} is {_kind(value)}, but must be a string or a list of "
            'messages like {"role": "user", "content": "Hello"}'
        )
    if not value:
        raise DataError(f"{where}: the list of messages is empty; give at least one message")
    return tuple(_read_message(item, f"{where}, message {n}") for n, item in enumerate(value, 1))


def _read_message(item: object, where: str) -> Message:
    if not isinstance(item, Mapping):
        raise DataError(f"{where}: {preview(item)} must be an object with `role` and `content`")
    # Arrow gives every message of a column the same keys, with null where one had none.
    message = {key: value for key, value in item.items() if value is not None}
    if set(message) != {"role", "content"}:
        raise DataError(
            f"{where}: keys {', '.join(map(str, message)) or 'none'}; a message has exactly `role` "
            "and `content`, so rename or drop the others"
        )
    if message["role"] not in ROLES:
        raise DataError(
            f"{where}: role {preview(message['role'])} must be one of {', '.join(ROLES)}"
        )
    return {"role": message["role"], "content": _read_text(message["content"], where)}


def _read_text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise DataError(
            f"{where}: content {preview(value)} is {_kind(value)}, but must be a string; "
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


def check_prompt(prompt: Turns, where: str) -> None:
    """Raise DataError unless the prompt ends with a question and no question in it is blank."""
    if not prompt:
        raise DataError(
            f"{where}: chosen and rejected begin with different messages, so they share no prompt; "
            "add a `prompt` column"
        )
    if prompt[-1]["role"] not in ("user", "tool"):
        raise DataError(
            f"{where}: the prompt ends with role {prompt[-1]['role']!r}, but must end with a user "
            "or tool message; move what follows into the answers"
        )
    questions = [m["content"] for m in prompt if m["role"] == "user"]
    if not questions:
        raise DataError(
            f"{where}: the prompt has no user message; pairs are split by the first one, so add it"
        )
    if not all(question.strip() for question in questions):
        raise DataError(f"{where}: a user message of the prompt is empty; fill it or drop the row")


def check_answer(answer: Turns, where: str) -> None:
    """Raise DataError unless only assistant and tool speak and the last message is not blank."""
    roles = [message["role"] for message in answer]
    for role in ("user", "system"):
        if role in roles:
            raise DataError(
                f"{where}: the answer contains a {role} message; DPO compares two answers to one "
                "prompt, so everything before the answer must be the same in chosen, rejected "
                "and prompt"
            )
    if not roles or roles[-1] != "assistant":
        last = f"ends with role {roles[-1]!r}" if roles else "has no messages of its own"
        raise DataError(f"{where}: the answer {last}, but must end with an assistant message")
    if not answer[-1]["content"].strip():
        raise DataError(f"{where}: {EMPTY_ANSWER}; fill it or drop the row")
