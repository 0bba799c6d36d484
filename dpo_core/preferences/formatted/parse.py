"""Recognition of a text that is already formatted, and its messages.

"<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"  ->  a user message "Hi"
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from dpo_core.errors import DataError
from dpo_core.preferences.formatted.markups import (
    ASSISTANT,
    BEGINS,
    DIALOGUE,
    ENDS,
    MARKUPS,
    REASONING,
    SYSTEM,
    USER,
    Format,
    Markup,
)
from dpo_core.preferences.messages import Message, Turns, preview

_PREFACE = "preface"  # text before the first header, which is a system message where it is anything
_SYSTEM_NAME = re.compile(r"\s*(?:### ?)?(?:System|SYSTEM):")


class ParsedPrompt(NamedTuple):
    """The messages of a prompt, and what its text has of the answer."""

    turns: Turns
    started: str | None
    """Text of an assistant turn that the prompt begins and does not end; None if it begins none."""
    separator: str
    """What stands before each of its headers."""


@dataclass
class _Segment:
    """The text of one turn, as it stands between its header and its end."""

    role: str
    text: str = ""
    is_ended: bool = False


def recognise(text: str, format: Format | None = None) -> Markup | None:
    """Return the markup in which a prompt is written, or None if it is plain text.

    A text that mentions headers somewhere is plain: one must begin it, or open an answer at its end.

    Args:
        text: The prompt.
        format: Which kind of markup to look for; None looks for any.
    """
    body = without_begins(text)
    begins = text[: len(text) - len(body)]
    if not (begins.strip() or _may_be_prompt(body.strip())):
        return None
    return next(
        (
            markup
            for markup in MARKUPS
            if format in (None, markup.format) and _is_prompt(body, begins, markup)
        ),
        None,
    )


def recognise_dialogue(text: str, format: Format) -> Markup | None:
    """Return the markup of a whole text, which holds an answer too, or None if it is plain text.

    Args:
        text: Prompt and answer in one text.
        format: Which kind of markup to look for.
    """
    body = without_begins(text)
    for markup in MARKUPS:
        is_possible = any(header in body for header in markup.headers_of(ASSISTANT))
        if markup.format == format and is_possible:
            roles = [each.role for each in _segments(body, markup) if each.role != _PREFACE]
            asks = roles[1:] if roles[:1] == [SYSTEM] else roles
            if asks[:1] == [USER] and ASSISTANT in asks:
                return markup
    return None


def parse_prompt(text: str, markup: Markup) -> ParsedPrompt:
    """Return the messages of a prompt. Raises DataError where its text has no role.

    Args:
        text: The prompt.
        markup: Its markup, from `recognise`.
    """
    body = without_begins(text)
    segments = _segments(body, markup)
    started = None
    if segments[-1].role in (ASSISTANT, REASONING) and not segments[-1].is_ended:
        started = segments.pop().text
        while segments and _is_blank_answer(segments[-1]):
            segments.pop()
    return ParsedPrompt(_messages(segments, markup), started, _separator(body, markup))


def _is_blank_answer(segment: _Segment) -> bool:
    return segment.role in (ASSISTANT, REASONING) and not segment.text.strip()


def parse_answer(text: str, markup: Markup, prompt: ParsedPrompt) -> Turns:
    """Return the messages of an answer: one, unless its text has headers of further turns.

    Args:
        text: What follows the prompt.
        markup: The prompt's markup.
        prompt: The prompt.
    """
    if prompt.started is None:
        segments = _segments(
            without_begins(text), markup, role=ASSISTANT, separator=prompt.separator
        )
        return _messages(segments, markup)
    # With the header before it, a name at the start of the answer is seen to be a part of it.
    header = markup.headers_of(ASSISTANT)[-1]
    text = text if prompt.started.strip() else without_begins(text)
    whole = f"{header}{prompt.started}{text}"
    return _messages(_segments(whole, markup, separator=prompt.separator), markup)


def parse_whole(text: str, markup: Markup) -> Turns:
    """Return the messages of a text that holds a prompt and an answer.

    Args:
        text: Prompt and answer in one text.
        markup: Its markup, from `recognise_dialogue`.
    """
    return _messages(_segments(without_begins(text), markup), markup)


def continues_turn(text: str, markup: Markup, prompt: ParsedPrompt) -> bool:
    """Return whether an answer begins within a turn of the prompt, which the next header ends.

    Args:
        text: What follows the prompt.
        markup: The prompt's markup.
        prompt: The prompt.
    """
    segments = _segments(text, markup, role=_PREFACE, separator=prompt.separator)
    return (
        prompt.started is None
        and segments[0].role == _PREFACE
        and any(segment.role == ASSISTANT for segment in segments)
        and USER not in [segment.role for segment in segments[:2]]
    )


def without_begins(text: str) -> str:
    """Return the text without tokens that begin a text, and without white space around them.

    `<s>user` is no such token but a header.
    """
    body = text.lstrip()
    while body.startswith(BEGINS) and not body.startswith(_HEADERS_WITH_BEGIN):
        token = next(token for token in BEGINS if body.startswith(token))
        body = body[len(token) :].lstrip()
    return body if len(body) < len(text.lstrip()) else text


def without_end(text: str) -> str:
    """Return the text without end tokens of any known template at its end."""
    body = text.rstrip()
    while body.endswith(ENDS):
        token = next(token for token in ENDS if body.endswith(token))
        body = body[: -len(token)].rstrip()
    return body if len(body) < len(text.rstrip()) else text


_HEADERS_WITH_BEGIN = tuple(
    header for markup in MARKUPS for header in markup.headers if header.startswith(BEGINS)
)


_OPENINGS = tuple(header.strip() for markup in MARKUPS for header in markup.headers)
_GENERATION_PROMPTS = tuple(
    header.strip() for markup in MARKUPS for header in markup.headers_of(ASSISTANT, REASONING)
)


def _may_be_prompt(text: str) -> bool:
    """Return whether some header begins or ends the text, for a quick answer on plain text."""
    return (
        text.startswith(_OPENINGS)
        or text.endswith(_GENERATION_PROMPTS)
        or _SYSTEM_NAME.match(text) is not None
    )


def _is_prompt(body: str, begins: str, markup: Markup) -> bool:
    text = body.strip()
    opens_answer = text.endswith(_stripped(markup, ASSISTANT, REASONING))
    if markup.format != DIALOGUE:
        if text.startswith(_stripped(markup)):
            return True
        is_begun = any(token in begins for token in markup.begins)
        asks = any(header in text for header in markup.headers_of(USER))
        return asks and (opens_answer or is_begun)
    is_named = text.startswith(markup.headers_of(USER)) or _SYSTEM_NAME.match(text) is not None
    if not is_named and not opens_answer:
        return False
    roles = [segment.role for segment in _segments(body, markup)]
    return USER in roles and ASSISTANT in roles[roles.index(USER) :]


@lru_cache
def _stripped(markup: Markup, *roles: str) -> tuple[str, ...]:
    """Return headers of some roles, or of all, as a text ends with them that has lost its last line."""
    headers = markup.headers_of(*roles) if roles else markup.own_headers
    return tuple(header.strip() for header in headers)


def _segments(
    text: str, markup: Markup, *, role: str = _PREFACE, separator: str | None = None
) -> list[_Segment]:
    """Divide a text into turns.

    Args:
        text: The text.
        markup: Its markup.
        role: The role of what stands before the first header.
        separator: What stands before each header; None: as this text has it.

    Returns:
        At least one segment.
    """
    if separator is None:
        separator = _separator(text, markup)
    marks = _marks(markup, separator, _tokens_in(text, markup))
    segments = [_Segment(role)]
    position = 0
    if first := marks.header_or_end.match(text):
        segments = [_Segment(markup.headers[first["header"]])] if first["header"] else segments
        position = first.end()
    while match := marks.any_mark.search(text, position):
        header, end = marks.headers.get(match[0]), match.end()
        if header is None:
            # An end token counts where a turn, another token or the end of the text follows; elsewhere
            # the text mentions it.
            following = marks.header_or_end.match(text, end)
            if following is None:
                segments[-1].text += text[position:end]
                position = end
                continue
            segments[-1].is_ended = True
            header = following["header"]
            end = following.end() if header else end
        segments[-1].text += text[position : match.start()]
        position = end
        if header is not None:
            segments.append(_Segment(markup.headers[header]))
    segments[-1].text += text[position:]
    if len(segments) > 1 and not segments[0].text.strip() and segments[0].role == role:
        segments.pop(0)
    return segments


class _Marks(NamedTuple):
    """Patterns of the headers of a markup and of the tokens that a text has."""

    any_mark: re.Pattern[str]
    headers: dict[str, str]
    """The header of each mark that begins a turn; other marks are tokens."""
    header_or_end: re.Pattern[str]
    """What follows a token that ends a turn."""


@lru_cache(1024)
def _marks(markup: Markup, separator: str, tokens: tuple[str, ...]) -> _Marks:
    headers = {separator + header: header for header in markup.own_headers}
    any_mark = _any_of(sorted((*headers, *tokens), key=len, reverse=True))
    end = rf"{_any_of(tokens)}|\Z" if tokens else r"\Z"
    following = re.compile(rf"\s*(?:(?P<header>{_any_of(markup.own_headers)})|{end})")
    return _Marks(re.compile(any_mark), headers, following)


def _any_of(words: Sequence[str]) -> str:
    return "|".join(map(re.escape, words))


def _tokens_in(text: str, markup: Markup) -> tuple[str, ...]:
    # Each token has one of these two, most texts have neither, and a pass for each token is slow.
    if "<" not in text and "[" not in text:
        return ()
    return tuple(token for token in _tokens(markup) if token in text)


@lru_cache
def _tokens(markup: Markup) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*BEGINS, *(markup.ends or ENDS))))


def _separator(text: str, markup: Markup) -> str:
    """Return the first separator by which the text has a header of the assistant."""
    for separator in markup.separators:
        if any(separator + header in text for header in markup.headers_of(ASSISTANT)):
            return separator
    return markup.separators[0]


def _messages(segments: Sequence[_Segment], markup: Markup) -> Turns:
    return tuple(_with_reasoning(_kept(segments, markup)))


def _kept(segments: Sequence[_Segment], markup: Markup) -> Iterator[tuple[str, str]]:
    """Yield role and text of the turns that say something, or are blank because the data is."""
    following = [segment.role for segment in segments[1:]] + [None]
    for segment, next_role in zip(segments, following, strict=True):
        role, text = segment.role, segment.text.strip()
        if role == _PREFACE and text:
            role, text = SYSTEM, _preface(text, markup)
        if role == SYSTEM and markup.inserted:
            text = re.sub(rf"\A{markup.inserted}", "", text).strip()
        # Templates open a turn twice, such as "[/SYSTEM_PROMPT] [INST]" or a channel after a role.
        is_opened_twice = next_role in (role, REASONING)
        if text or not (is_opened_twice or role in (SYSTEM, REASONING, _PREFACE)):
            yield role, text


def _preface(text: str, markup: Markup) -> str:
    if markup.format == DIALOGUE:
        return _SYSTEM_NAME.sub("", text, count=1).strip()
    if not markup.has_preface:
        raise DataError(
            f"{preview(text)} stands before the first turn of {markup.name} text, so it has no role; "
            "move it into a turn, or drop the row"
        )
    return text


def _with_reasoning(turns: Iterator[tuple[str, str]]) -> Iterator[Message]:
    """Yield the messages; reasoning becomes a part of the assistant's message that follows it."""
    reasoning: list[str] = []
    for role, text in turns:
        if role == REASONING:
            reasoning.append(text)
            continue
        message: Message = {"role": role, "content": text}
        if reasoning and role == ASSISTANT:
            message["reasoning_content"] = "\n".join(reasoning)
            reasoning = []
        yield message
    if reasoning:
        raise DataError(
            f"reasoning {preview(reasoning[0])} is not followed by an answer, so it has no message"
        )
