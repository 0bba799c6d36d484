r"""Dialogues written as plain text, in the notation of Anthropic's hh-rlhf data set.

"\n\nHuman: Hi\n\nAssistant: Hello"  ->  a user message "Hi", an assistant message "Hello"
"""

from __future__ import annotations

from dpo_core.preferences.formatted.markups import HUMAN_ASSISTANT
from dpo_core.preferences.formatted.parse import parse_whole
from dpo_core.preferences.messages import Turns


def parse_dialogue(text: str) -> Turns | None:
    """Return the turns of a dialogue, or None if `text` does not begin with "\\n\\nHuman:".

    White space around a turn belongs to the notation and is removed.
    """
    return parse_whole(text, HUMAN_ASSISTANT) if text.startswith("\n\nHuman:") else None
