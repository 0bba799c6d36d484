"""Preference pairs, and the two hashes that identify a pair: its id and its prompt group."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from dpo_core.preferences.messages import Message, Turns, assistant, content_of, user
from dpo_core.preferences.normalization import fold, normalize_turns

# Shared, because creating an encoder takes longer than using it.
_CANONICAL = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class PreferencePair:
    """A prompt and two answers to it, of which people preferred `chosen`.

    Either all three are chat messages (a chat pair) or all three are strings (a text pair).
    """

    id: str
    """A hash of the content, 16 hex digits; the second of two identical pairs ends in `-2`."""
    group: str
    """The unit of splits, tests and intervals, 16 hex digits. As pairs are read, a hash of the first
    user message; `split_pairs` puts all that are nearly the same into one group."""
    prompt: Turns | str
    chosen: Turns | str
    rejected: Turns | str
    line: int = field(default=0, compare=False)
    """The line (JSONL, CSV) or row (other formats) it was read from, from 1; 0 if from no file."""
    category: str | None = None
    source: str | None = field(default=None, compare=False)
    """The label of its source; results are broken down by it where there are several sources."""
    tools: tuple[dict[str, Any], ...] = ()
    """The tools that the chat template shows to the model, as JSON objects."""
    template_kwargs: dict[str, Any] = field(default_factory=dict)
    """Settings of this row for the chat template, such as `enable_thinking`."""
    weight: float | None = None
    """How much the pair counts in the training loss; None counts as 1."""
    margin: float | None = None
    """By how many nats β·h must exceed 0 for a loss of ln 2; None counts as 0."""

    @property
    def is_chat(self) -> bool:
        """Return whether prompt and answers are chat messages rather than strings."""
        return not isinstance(self.prompt, str)


def make_pair(
    prompt: Turns | str,
    chosen: Turns | str,
    rejected: Turns | str,
    *,
    line: int = 0,
    category: str | None = None,
    tools: tuple[dict[str, Any], ...] = (),
    template_kwargs: dict[str, Any] | None = None,
    source: str | None = None,
) -> PreferencePair:
    """Build a pair from checked content, with its id and group.

    Text and chat form of the same words get the same id and group.

    Args:
        prompt: Chat messages, or a string when both answers are strings.
        chosen: The preferred answer.
        rejected: The other answer.
        line: The line or row it was read from, from 1; 0 if from no file.
        category: A name by which results are broken down.
        tools: What the chat template shows as tools.
        template_kwargs: Settings of this row for the chat template.
        source: The label of its source.

    Returns:
        The pair; its id is that of the first of all identical pairs, see `number_repeats`.
    """
    turns = chat_prompt(prompt), chat_answer(chosen), chat_answer(rejected)
    settings = template_kwargs or {}
    return PreferencePair(
        pair_id(*turns, tools, settings),
        prompt_group(turns[0]),
        prompt,
        chosen,
        rejected,
        line,
        category,
        source,
        tools=tools,
        template_kwargs=settings,
    )


def as_chat(pair: PreferencePair) -> PreferencePair:
    """Return the pair as chat messages: strings become one turn each.

    Id and group stay the same, because they are computed from the chat form.
    """
    return replace(
        pair,
        prompt=chat_prompt(pair.prompt),
        chosen=chat_answer(pair.chosen),
        rejected=chat_answer(pair.rejected),
    )


def chat_prompt(prompt: Turns | str) -> Turns:
    """Return the prompt as chat messages: a string becomes one user turn."""
    return (user(prompt),) if isinstance(prompt, str) else prompt


def chat_answer(answer: Turns | str) -> Turns:
    """Return the answer as chat messages: a string becomes one assistant turn."""
    return (assistant(answer),) if isinstance(answer, str) else answer


def pair_id(
    prompt: Turns,
    chosen: Turns,
    rejected: Turns,
    tools: Sequence[dict[str, Any]] = (),
    template_kwargs: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """Return the hash that identifies a pair by its content.

    Args:
        prompt: The chat messages of the prompt.
        chosen: The chat messages of the preferred answer.
        rejected: The chat messages of the other answer.
        tools: What the chat template shows as tools.
        template_kwargs: Settings of this row for the chat template.

    Returns:
        The first 16 hex digits of the SHA-256 of the three, with tools and settings where there are
        any, as JSON with sorted keys and no spaces.
    """
    rest = [tools, dict(template_kwargs)] if tools or template_kwargs else []
    return _digest(_CANONICAL.encode([prompt, chosen, rejected, *rest]))


def normalized_prompt(pair: PreferencePair) -> str:
    """Return a text that is equal for pairs that ask the same, with the same tools and settings."""
    asked = normalize_turns(chat_prompt(pair.prompt))
    if not (pair.tools or pair.template_kwargs):
        return asked
    return f"{asked}\0{_CANONICAL.encode([pair.tools, pair.template_kwargs])}"


def prompt_group(prompt: Turns) -> str:
    """Return 16 hex digits for the first user message, whatever its case, width and white space.

    `split_pairs` joins prompts that differ in punctuation alone. They keep their own names here, because
    the names decide the splits and so must be the same in every version.
    """
    return _digest(fold(_first_message(prompt)))


def normalized_question(prompt: Turns | str) -> str:
    """Return the first user message without case, width, punctuation and extra white space.

    One of punctuation alone keeps it.
    """
    folded = fold(_first_message(chat_prompt(prompt)))
    return " ".join(folded.translate(_SPACES).split()) or folded


def question_id(question: str) -> str:
    """Return 16 hex digits for a normalized question."""
    return _digest(question)


def _first_message(prompt: Turns) -> str:
    return next(content_of(message) for message in prompt if message["role"] == "user")


class _PunctuationToSpace(dict[int, str]):
    """A table for `str.translate`, filled in as characters come."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        self[code] = " " if unicodedata.category(character).startswith("P") else character
        return self[code]


_SPACES = _PunctuationToSpace()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def number_repeats(pairs: Iterable[PreferencePair]) -> Iterator[PreferencePair]:
    """Yield pairs with unique ids: that of the n-th identical pair ends in `-n`.

    Pairs that are appended later do not change the ids of those before them.
    """
    # Numbers instead of strings save 100 MB for a million pairs.
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


def location(pair: PreferencePair) -> str:
    """Return the source and line from which a pair was read."""
    return f"{pair.source or 'data'}:{pair.line}"


def to_row(pair: PreferencePair) -> dict[str, Any]:
    """Return the pair as a JSON row that `pair_from_row` reads back; without `line`."""
    return {
        "id": pair.id,
        "group": pair.group,
        "prompt": _as_json(pair.prompt),
        "chosen": _as_json(pair.chosen),
        "rejected": _as_json(pair.rejected),
        "category": pair.category,
        "source": pair.source,
        **extras_of(pair),
    }


def extras_of(pair: PreferencePair) -> dict[str, Any]:
    """Return what few pairs have, by column: tools, template settings, weight and margin."""
    extras = {
        "tools": pair.tools,
        "chat_template_kwargs": pair.template_kwargs,
        "weight": pair.weight,
        "margin": pair.margin,
    }
    return {name: value for name, value in extras.items() if value}


def _as_json(content: Turns | str) -> str | list[Message]:
    return content if isinstance(content, str) else [dict(message) for message in content]
