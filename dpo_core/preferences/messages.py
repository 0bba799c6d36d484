"""Chat messages, and the checks that make a list of them a prompt or an answer."""

from __future__ import annotations

from typing import Any

from dpo_core.errors import DataError

Message = dict[str, Any]
"""{"role": ..., "content": ...}, with name, tool_calls, tool_call_id and reasoning_content where it has
them. A message that only calls tools may have no content."""

Turns = tuple[Message, ...]

EMPTY_ANSWER = "the answer is empty"


def system(content: str) -> Message:
    """Return a message with the role of the system."""
    return {"role": "system", "content": content}


def user(content: str) -> Message:
    """Return a message with the role of the user."""
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    """Return a message with the role of the assistant."""
    return {"role": "assistant", "content": content}


def content_of(message: Message) -> str:
    """Return the text of a message, which is empty where it only calls tools."""
    return message.get("content") or ""


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
    questions = [content_of(m) for m in prompt if m["role"] == "user"]
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
    if not content_of(answer[-1]).strip() and not answer[-1].get("tool_calls"):
        raise DataError(f"{where}: {EMPTY_ANSWER}; fill it or drop the row")
