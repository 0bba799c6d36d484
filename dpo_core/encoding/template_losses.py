"""Parts of a conversation that its rendered text lacks: a chat template dropped or moved them.

A template may drop a message (Phi-3 that of a tool, many the tools themselves), a part of one (what
stands before `</think>`), or move one: where it writes the prompt in another way once an answer
follows, what differs becomes part of both answers and is trained.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dpo_core.encoding.rendering import Conversation, RenderedTexts
from dpo_core.preferences.messages import Message, content_of, preview

DROPPED, MOVED, IGNORED = "dropped", "moved", "ignored"

_THINKING = re.compile(r"(</?think(?:ing)?>)")


class Loss(NamedTuple):
    """One part of a conversation that the rendered text lacks where it should be."""

    how: str
    """`dropped`: it is nowhere; `moved`: it is not in the prompt, but in both answers; `ignored`: the
    template reads no such setting."""
    what: str
    """Such as "system text" or "tool definition"."""
    text: str
    """The beginning of what is lost, on one line."""


class _Part(NamedTuple):
    what: str
    text: str


def template_losses(conversation: Conversation, texts: RenderedTexts) -> tuple[Loss, ...]:
    """Compare a conversation with its rendered text, outer white space aside.

    Args:
        conversation: What was rendered: every message's text, the reasoning, and the names of tools
            must be present, as they are or as JSON writes them.
        texts: What the template made of it.

    Returns:
        What is missing or not in its place, in the order of the conversation.
    """
    prompt = _shared_text(texts)
    parts = [
        *_definitions(conversation.tools),
        *(part for message in conversation.prompt for part in _parts(message)),
    ]
    losses = []
    for part, times in _missing(parts, prompt):
        moved = all(_count(text, part.text.strip()) >= times for text in texts.with_answers)
        how = MOVED if moved and texts.with_answers else DROPPED
        losses.append(Loss(how, part.what, preview(part.text.strip())))
    for answer, text in zip(conversation.answers, texts.with_answers, strict=True):
        own = [part for message in answer for part in _parts(message, "answer's ")]
        losses += [
            Loss(DROPPED, part.what, preview(part.text.strip()))
            for part, _ in _missing(own, text[len(prompt) :])
        ]
    return tuple(losses)


def ignored_settings(template_kwargs: Mapping[str, Any], template: str) -> tuple[Loss, ...]:
    """Return the settings that a template, given by its source, never mentions."""
    return tuple(
        Loss(IGNORED, "setting", name)
        for name in template_kwargs
        if not re.search(rf"\b{re.escape(name)}\b", template)
    )


def _shared_text(texts: RenderedTexts) -> str:
    """Return the text of the prompt as far as it stays the same before every answer."""
    prompt = texts.prompt
    if all(text.startswith(prompt) for text in texts.with_answers):
        return prompt

    def differs(length: int) -> bool:
        return not all(text.startswith(prompt[:length]) for text in texts.with_answers)

    return prompt[: bisect_right(range(1, len(prompt) + 1), False, key=differs)]


def _definitions(tools: Sequence[Mapping[str, Any]]) -> Iterator[_Part]:
    for tool in tools:
        name = _name(tool)
        if name:
            yield _Part("tool definition", name)


def _parts(message: Message, whose: str = "") -> Iterator[_Part]:
    content = content_of(message)
    if content.strip():
        yield _Part(f"{whose or message['role'] + ' '}text", content)
    if len(message) > 2 or not content:
        reasoning = message.get("reasoning_content") or ""
        if reasoning.strip():
            yield _Part(f"{whose}reasoning", reasoning)
        for call in message.get("tool_calls", ()):
            name = _name(call)
            if name:
                yield _Part(f"{whose}tool call", name)


def _name(tool: Mapping[str, Any]) -> str:
    """Return the name of a tool or call, which some publishers write without a `function` around it."""
    function = tool.get("function", tool)
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) else ""


def _missing(parts: Sequence[_Part], rendered: str) -> Iterator[tuple[_Part, int]]:
    """Yield the parts that the rendered text has less often than the conversation, and its number."""
    texts = [part.text.strip() for part in parts]
    times = Counter(texts) if len(set(texts)) < len(texts) else {}
    for part, text in zip(parts, texts, strict=True):
        expected = times.get(text, 1)
        # Most texts are there as they are, and once.
        if not (expected == 1 and text in rendered) and _count(rendered, text) < expected:
            yield part, expected


def _count(rendered: str, text: str) -> int:
    """Count a text as it is, as JSON writes it, or with white space added at its thinking tags."""
    as_json = json.dumps(text, ensure_ascii=False)[1:-1]
    pieces = [piece.strip() for piece in _THINKING.split(text)]
    in_pieces = min(rendered.count(p) for p in filter(None, pieces)) if len(pieces) > 1 else 0
    return max(rendered.count(text), rendered.count(as_json), in_pieces)
