"""The one rule by which two texts count as the same.

Case, white space, Unicode form and punctuation at the end make no difference. The rule matches the
prompts of red-team responses and of unpaired labels, and the responses that several annotators ranked;
it finds pairs that repeat or contradict others.

`pairs.normalized_question` goes further: prompts whose words are the same are never in two splits.
"""

from __future__ import annotations

import json
import unicodedata

from dpo_core.preferences.messages import Message, Turns

# Marks that end a sentence or a part of it, in the scripts that have their own. Signs that belong to a
# word, as in "C#" or "5 %", are none of them. NFKC has made those of full width the common ones.
_END_MARKS = ".,;:!?‽。、؟،؛۔।॥։።" + " "


def fold(text: str) -> str:
    """Return the text without differences of case, width, Unicode form and white space."""
    # Casefolding can undo NFKC (and the other way round), hence twice; ASCII needs neither.
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def normalize_text(text: str) -> str:
    """Return the folded text without punctuation at its end; one of such punctuation alone keeps it."""
    folded = fold(text)
    return folded.rstrip(_END_MARKS) or folded


def normalize_turns(turns: Turns) -> str:
    """Return a text that is equal for messages with the same roles and normalized contents.

    What else the messages have, such as calls of tools, must be equal as it is.
    """
    return "\0".join(map(_normalize_message, turns))


def _normalize_message(message: Message) -> str:
    rest = {key: value for key, value in message.items() if key not in ("role", "content")}
    others = json.dumps(rest, sort_keys=True) if rest else ""
    return f"{message['role']}\0{normalize_text(message.get('content') or '')}\0{others}"
