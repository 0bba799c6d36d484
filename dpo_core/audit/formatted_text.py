"""Texts that are already formatted, around which the chat template would be put a second time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from dpo_core.audit.findings import SEVERE, SHOWN, WARNING, Finding
from dpo_core.preferences.formatted.markups import RENDERED, Format, Markup
from dpo_core.preferences.formatted.parse import recognise, without_begins, without_end
from dpo_core.preferences.messages import Turns, content_of
from dpo_core.preferences.pairs import PreferencePair, location
from dpo_core.preferences.table import PairTable

# Shares of a source's pairs. Below the smaller one, a few rows mention markup, which is their text.
MOST, SOME = 0.5, 0.05

TEXT, ENDS, BEGINS = "formatted_text", "ended_answers", "begun_prompts"
_MESSAGES = {
    TEXT: "have text that is already formatted ({}); it would stand within another template",
    ENDS: "have an answer that ends in {}; this end of a turn would be text before the real one",
    BEGINS: "have a prompt that begins with {}, which the tokenizer or the template adds itself",
}
_REMEDIES = {
    TEXT: "data.format: {} reads it as messages",
    ENDS: "data.format: {} removes it",
    BEGINS: "data.format: {} removes it",
}


@dataclass(frozen=True)
class TextUse:
    """The use that encoding makes of the texts of pairs."""

    is_chat: bool = True
    """Whether each text becomes a chat turn."""
    keeps_special_tokens: bool = False
    """Whether special tokens that a text spells out become tokens."""
    eos_token: str | None = None
    """The tokenizer's own end, which encoding does not double in plain texts."""


AS_CHAT = TextUse()


class _Seen(NamedTuple):
    """One thing by which a pair shows that its text is already formatted."""

    code: str
    words: str
    """The name of the markup, or the token."""
    format: Format
    """The `data.format` that reads it."""


def formatted_texts(tables: Iterable[PairTable], use: TextUse) -> Iterator[Finding]:
    """Report prompts and answers that hold markup of turns, where many rows of a source do.

    Args:
        tables: The pairs of each split.
        use: What encoding does with their texts.

    Yields:
        At most one finding of each kind.
    """
    pairs: Counter[str | None] = Counter()
    counts = {code: _Counts() for code in _MESSAGES}
    for table in tables:
        for pair in table:
            pairs[pair.source] += 1
            for seen in _seen_in(pair, use):
                counts[seen.code].add(seen, pair)
    for counted in counts.values():
        sources = [s for s, count in counted.by_source.items() if count >= SOME * pairs[s]]
        if sources:
            names = ", ".join(map(str, sources)) if len(pairs) > 1 else ""
            affected = {source: pairs[source] for source in sources}
            yield _finding(counted, affected, f" of {names}" if names else "", use)


class _Counts:
    """The pairs that have one kind of formatted text, by source."""

    def __init__(self) -> None:
        self.by_source: Counter[str | None] = Counter()
        self.seen: Counter[_Seen] = Counter()
        self.locations: dict[str | None, list[str]] = {}

    def add(self, seen: _Seen, pair: PreferencePair) -> None:
        """Count a pair."""
        self.by_source[pair.source] += 1
        self.seen[seen] += 1
        locations = self.locations.setdefault(pair.source, [])
        if len(locations) < SHOWN:
            locations.append(location(pair))


def _finding(
    counted: _Counts, pairs: Mapping[str | None, int], of_sources: str, use: TextUse
) -> Finding:
    """Return the finding of one kind in some sources.

    Args:
        counted: What was seen.
        pairs: The number of pairs of each source.
        of_sources: Their names in words, or nothing where there is one source.
        use: What encoding does with the texts.
    """
    [(commonest, _)] = counted.seen.most_common(1)
    is_severe = any(counted.by_source[source] > MOST * count for source, count in pairs.items())
    return Finding(
        commonest.code,
        SEVERE if is_severe else WARNING,
        sum(counted.by_source[source] for source in pairs) / sum(pairs.values()),
        f"of pairs{of_sources} {_MESSAGES[commonest.code].format(commonest.words)}",
        _remedy(commonest, use),
        tuple(each for source in pairs for each in counted.locations[source])[:SHOWN],
        is_share=True,
    )


def _remedy(seen: _Seen, use: TextUse) -> str:
    remedy = _REMEDIES[seen.code].format(seen.format)
    if use.is_chat:
        return remedy
    return f"{remedy}, with a chat model; data.special_tokens: keep makes tokens of it without one"


def _seen_in(pair: PreferencePair, use: TextUse) -> Iterator[_Seen]:
    markup = _markup(pair.prompt) or _markup_of_answer(pair.chosen)
    # A base model may well be trained on dialogues, and on tokens that stay tokens.
    is_text = not use.is_chat and not pair.is_chat
    if markup is not None and not (
        is_text and (markup.format != RENDERED or use.keeps_special_tokens)
    ):
        yield _Seen(TEXT, markup.name, markup.format)
    format = markup.format if markup else RENDERED
    begin = _begin(pair.prompt) if markup is None or is_text else None
    if begin:
        yield _Seen(BEGINS, begin, format)
    end = _end(pair.chosen) or _end(pair.rejected)
    if end and not (is_text and (use.keeps_special_tokens or end == use.eos_token)):
        yield _Seen(ENDS, end, format)


def _markup(prompt: Turns | str) -> Markup | None:
    """Return the markup of the first text of the prompt that has one, or None."""
    if isinstance(prompt, str):
        return recognise(prompt)
    questions = (content_of(message) for message in prompt if message["role"] == "user")
    return next((markup for text in questions if (markup := recognise(text))), None)


def _markup_of_answer(answer: Turns | str) -> Markup | None:
    """Return the markup of an answer that has the header of a turn, or repeats a formatted prompt."""
    return recognise(_last_text(answer))


def _last_text(answer: Turns | str) -> str:
    if isinstance(answer, str):
        return answer
    return content_of(answer[-1]) if answer else ""


def _begin(prompt: Turns | str) -> str | None:
    """Return the tokens that begin the prompt's text, or None."""
    text = prompt if isinstance(prompt, str) else content_of(prompt[0])
    body = without_begins(text)
    return None if body is text else text[: len(text) - len(body)].strip()


def _end(answer: Turns | str) -> str | None:
    """Return the tokens that end the answer's text, or None."""
    text = _last_text(answer)
    body = without_end(text)
    return None if body is text else text[len(body) :].strip()
