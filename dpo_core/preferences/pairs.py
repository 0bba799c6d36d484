"""A preference pair, and the two hashes that name it: its id and its prompt group."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from dpo_core.preferences.messages import Turns, assistant, user

# One for all: making it takes longer than using it.
_CANONICAL = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class PreferencePair:
    """One prompt and two answers, of which people preferred `chosen`.

    Either all three are chat messages (a chat pair) or all three are strings (a text pair).
    """

    id: str
    """16 hex digits of the content; the second of two identical pairs ends in `-2`."""
    group: str
    """Hash of the first user message: pairs of one group must not be split apart."""
    prompt: Turns | str
    chosen: Turns | str
    rejected: Turns | str
    line: int = field(default=0, compare=False)
    """Where it was read: line (JSONL, CSV) or row (other kinds), from 1; 0 when not from a file."""
    category: str | None = None
    source: str | None = field(default=None, compare=False)
    """Label of the source, where there are several; results are told apart by it."""

    @property
    def is_chat(self) -> bool:
        return not isinstance(self.prompt, str)


def make_pair(
    prompt: Turns | str,
    chosen: Turns | str,
    rejected: Turns | str,
    *,
    line: int = 0,
    category: str | None = None,
) -> PreferencePair:
    """Name checked content. Text and chat form of the same words get the same id and group."""
    turns = chat_prompt(prompt), chat_answer(chosen), chat_answer(rejected)
    return PreferencePair(
        pair_id(*turns), prompt_group(turns[0]), prompt, chosen, rejected, line, category
    )


def as_chat(pair: PreferencePair) -> PreferencePair:
    """The pair as chat messages: a text prompt becomes one user turn, an answer one assistant turn.

    Id and group stay, because they are computed on the chat form.
    """
    return replace(
        pair,
        prompt=chat_prompt(pair.prompt),
        chosen=chat_answer(pair.chosen),
        rejected=chat_answer(pair.rejected),
    )


def chat_prompt(prompt: Turns | str) -> Turns:
    return (user(prompt),) if isinstance(prompt, str) else prompt


def chat_answer(answer: Turns | str) -> Turns:
    return (assistant(answer),) if isinstance(answer, str) else answer


def pair_id(prompt: Turns, chosen: Turns, rejected: Turns) -> str:
    """First 16 hex digits of the SHA-256 of the three as JSON with sorted keys and no spaces."""
    content = _CANONICAL.encode([prompt, chosen, rejected])
    return _digest(content)


def prompt_group(prompt: Turns) -> str:
    """16 hex digits for the first user message, blind to case, width and white space."""
    question = next(message["content"] for message in prompt if message["role"] == "user")
    return _digest(_normalized(question))


def _normalized(text: str) -> str:
    # Casefolding can undo NFKC (and the other way round), hence twice.
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def number_repeats(pairs: Iterable[PreferencePair]) -> Iterator[PreferencePair]:
    """Make ids unique: the n-th identical pair ends in `-n`. Rows appended later change none."""
    # Numbers, not strings: of a million pairs that is 100 MB less.
    seen: set[int] = set()
    repeats: Counter[str] = Counter()
    for pair in pairs:
        number = int(pair.id, 16)
        if number in seen:
            repeats[pair.id] += 1
            pair = replace(pair, id=f"{pair.id}-{repeats[pair.id] + 1}")
        else:
            seen.add(number)
        yield pair


def to_row(pair: PreferencePair) -> dict[str, Any]:
    """The pair as a JSON row; `pair_from_row` reads it back. `line` is left out: it is of the source."""
    return {
        "id": pair.id,
        "group": pair.group,
        "prompt": _as_json(pair.prompt),
        "chosen": _as_json(pair.chosen),
        "rejected": _as_json(pair.rejected),
        "category": pair.category,
        "source": pair.source,
    }


def _as_json(content: Turns | str) -> str | list[dict[str, str]]:
    return content if isinstance(content, str) else [dict(message) for message in content]
