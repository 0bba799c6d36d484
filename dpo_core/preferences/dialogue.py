r"""Dialogues written as plain text, in the notation of Anthropic's hh-rlhf data set.

"\n\nHuman: Hi\n\nAssistant: Hello"  ->  a user message "Hi", an assistant message "Hello"
"""

from __future__ import annotations

import re

from dpo_core.preferences.messages import Turns, assistant, user

_SPEAKER = re.compile(r"\n\n(Human|Assistant):")


def parse_dialogue(text: str) -> Turns | None:
    """Return the turns of a dialogue, or None if `text` does not begin with "\\n\\nHuman:".

    White space around a turn belongs to the notation and is removed.
    """
    before, *parts = _SPEAKER.split(text)
    if before or not parts or parts[0] != "Human":
        return None
    speakers, contents = parts[::2], parts[1::2]
    return tuple(
        (user if speaker == "Human" else assistant)(content.strip())
        for speaker, content in zip(speakers, contents, strict=True)
    )
