"""Prompts that are spread over a row: dialogues as text, earlier turns, questions and answers in turns.

Tested in tests/unit/dpo_core/preferences/layouts/test_conversations.py.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

from dpo_core.columns.paths import parsed
from dpo_core.errors import DataError
from dpo_core.preferences.dialogue import parse_dialogue
from dpo_core.preferences.messages import Message, Turns, assistant, preview, user
from dpo_core.preferences.pairs import chat_prompt
from dpo_core.preferences.read_messages import read_field

_NEMO_SPEAKER = re.compile(r"<extra_id_1>(User|Assistant)[ \t]*\n?")


def open_dialogue(value: object) -> Turns | None:
    """Return the turns of a Human/Assistant dialogue that ends where an answer begins, or None.

    The last turn is one of the user, or an empty one of the assistant, which is left out.
    """
    turns = parse_dialogue(value) if isinstance(value, str) else None
    if turns and turns[-1]["role"] == "assistant" and not turns[-1]["content"]:
        turns = turns[:-1]
    return turns if turns and turns[-1]["role"] == "user" else None


def nemo_turns(text: str) -> Turns | str:
    """Return the turns of a text in the notation of NVIDIA NeMo, and a text without any as it is."""
    first, *rest = _NEMO_SPEAKER.split(text)
    if not rest:
        return text
    speakers = ["User", *rest[::2]] if first.strip() else rest[::2]
    contents = [first, *rest[1::2]] if first.strip() else rest[1::2]
    turns = [
        (user if speaker == "User" else assistant)(content.strip())
        for speaker, content in zip(speakers, contents, strict=True)
    ]
    is_open = turns[-1]["role"] == "assistant" and not turns[-1]["content"]
    return tuple(turns[:-1] if is_open else turns)


def in_turns(questions: object, answers: object, where: str) -> Turns:
    """Return a conversation of questions and answers that take turns.

    Args:
        questions: A list of strings, or such a list as a text of JSON.
        answers: As many answers.
        where: File, line and column, for the error.

    Returns:
        Its messages.

    Raises:
        DataError: The values are no such lists.
    """
    asked, answered = texts_of(questions), texts_of(answers)
    if not asked or len(asked) != len(answered):
        raise DataError(
            f"{where}: {preview(answers)} must be a list of strings, one for each of "
            f"{preview(questions)}; correct the row"
        )
    pairs = zip(asked, answered, strict=True)
    return tuple(turn for question, answer in pairs for turn in (user(question), assistant(answer)))


def open_turns(questions: object, answers: object, where: str) -> Turns:
    """Return the messages of questions and of the answers between them, which end with a question.

    Args:
        questions: A list of strings or one string; a text of JSON counts as what it holds.
        answers: As many less one, in the same form; none may be null or an empty string.
        where: File, line and column, for the error.

    Returns:
        The messages.

    Raises:
        DataError: The values are no such lists.
    """
    asked, answered = _one_or_more(questions), _one_or_more(answers)
    if not asked or len(asked) != len(answered) + 1:
        raise DataError(
            f"{where}: {preview(answers)} must have one answer less than {preview(questions)} has "
            "questions; correct the row"
        )
    return (
        (*in_turns(asked[:-1], answered, where), user(asked[-1])) if answered else (user(asked[0]),)
    )


def _one_or_more(value: object) -> list[str]:
    one = parsed(value)
    if isinstance(one, str):
        return [one] if one else []
    return texts_of(value)


def texts_of(value: object) -> list[str]:
    """Return the strings of a list, which may be a text of JSON; empty for anything else."""
    items = parsed(value)
    if not isinstance(items, list):
        return []
    texts = [item for item in items if isinstance(item, str)]
    return texts if len(texts) == len(items) else []


def after_history(history: object, prompt: object, where: str) -> Turns:
    """Return the messages of a prompt that earlier turns precede.

    Args:
        history: Messages, or a list of [question, answer]; a text of JSON counts as what it holds.
        prompt: A string or messages.
        where: File and line of the row, for the error.

    Returns:
        The messages of both.

    Raises:
        DataError: The history is neither.
    """
    items = parsed(history)
    if not isinstance(items, list):
        raise DataError(
            f"{where}: history {preview(history)} must be a list of messages or of pairs of a question "
            "and its answer"
        )
    earlier: list[Message] = []
    for item in items:
        if isinstance(item, Mapping):
            earlier += chat_prompt(read_field([item], f"{where}: history"))
        else:
            earlier += in_turns(texts_of(item)[:1], texts_of(item)[1:], f"{where}: history")
    return (*earlier, *chat_prompt(read_field(prompt, f"{where}: prompt")))


def shared_text(left: str, right: str) -> str:
    """Return what two texts begin with, back to the last white space, which is left out.

    Empty if that is no whole word.
    """
    alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False))
    shared = "".join(character for character, _ in alike)
    end = max((n for n, character in enumerate(shared) if character.isspace()), default=0)
    return shared[:end].rstrip()
