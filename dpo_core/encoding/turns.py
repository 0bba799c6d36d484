"""Prompts as turns: without their oldest turns, with a shorter last turn, with folded system texts.

A turn begins with a user's message and goes on to the next one. Messages before the first user's are
a turn of their own, and system messages belong to none: they are never dropped.
"""

from __future__ import annotations

from dpo_core.preferences.messages import Message, Turns, content_of

_GAP = "\n\n"


def turn_starts(prompt: Turns) -> list[int]:
    """Return the index of the first message of each turn, in ascending order."""
    spoken = [i for i, message in enumerate(prompt) if message["role"] != "system"]
    return [i for i in spoken if i == spoken[0] or prompt[i]["role"] == "user"]


def without_oldest_turns(prompt: Turns, count: int) -> Turns:
    """Return the prompt without its `count` oldest turns; system messages stay."""
    first_kept = [*turn_starts(prompt), len(prompt)][count]
    return tuple(
        message
        for i, message in enumerate(prompt)
        if i >= first_kept or message["role"] == "system"
    )


def last_turn(prompt: Turns) -> list[int]:
    """Return the indices of the messages of the last turn."""
    start = turn_starts(prompt)[-1]
    return [i for i in range(start, len(prompt)) if prompt[i]["role"] != "system"]


def fold_system(prompt: Turns) -> Turns:
    """Put the text of each system message before the user's message that follows it.

    A system message that no user's message follows stays as it is.
    """
    last_user = max((i for i, each in enumerate(prompt) if each["role"] == "user"), default=-1)
    folded: list[Message] = []
    waiting: list[str] = []
    for i, message in enumerate(prompt):
        if message["role"] == "system" and i < last_user:
            waiting.append(content_of(message))
        elif message["role"] == "user" and waiting:
            texts = filter(None, [*waiting, content_of(message)])
            folded.append({**message, "content": _GAP.join(texts)})
            waiting = []
        else:
            folded.append(message)
    return tuple(folded)
