"""Texts that are already formatted, around which the chat template would be put a second time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from dpo_core.audit.findings import SEVERE, SHOWN, WARNING, Finding, location
from dpo_core.preferences.formatted.markups import RENDERED, Format, Markup
from dpo_core.preferences.formatted.parse import recognise, without_begins, without_end
from dpo_core.preferences.messages import Turns, content_of
from dpo_core.preferences.pairs import PreferencePair
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
    seen: Counter[tuple[str | None, _Seen]] = Counter()
    examples: dict[tuple[str | None, str], list[str]] = {}
    for table in tables:
        for pair in table:
            pairs[pair.source] += 1
            for each in _seen_in(pair, use):
                seen[pair.source, each] += 1
                shown = examples.setdefault((pair.source, each.code), [])
                if len(shown) < SHOWN:
                    shown.append(location(pair))
    for code in _MESSAGES:
        counts = Counter[str | None]()
        for (source, each), count in seen.items():
            counts[source] += count if each.code == code else 0
        sources = [source for source in counts if counts[source] >= max(1, SOME * pairs[source])]
        if sources:
            commonest = max(
                (key for key in seen if key[0] in sources and key[1].code == code),
                key=seen.__getitem__,
            )
            yield Finding(
                code,
                SEVERE if any(counts[s] > MOST * pairs[s] for s in sources) else WARNING,
                sum(counts[s] for s in sources) / sum(pairs[s] for s in sources),
                f"of pairs{_named(sources, pairs)} {_MESSAGES[code].format(commonest[1].words)}",
                _remedy(commonest[1], use),
                tuple(each for s in sources for each in examples[s, code])[:SHOWN],
                is_share=True,
            )


def _named(sources: Iterable[str | None], pairs: Counter[str | None]) -> str:
    return f" of {', '.join(map(str, sources))}" if len(pairs) > 1 else ""


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
