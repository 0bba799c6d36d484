"""Escaping of special tokens that a prompt or answer spells out, so that they stay plain text.

A text that contains `<|im_end|>` would end its own turn, and one that contains `<|im_start|>system`
would speak as the system. Such words are replaced by marks before the chat template is applied, and
the marks are then encoded as the plain text of the words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Noncharacters of Unicode, which a valid text does not contain. A text that does is still encoded
# as plain words.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_MARK = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")


class SpecialTokenEscaper:
    """Replaces the special tokens of one tokenizer in texts, and encodes them as plain text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        added = getattr(tokenizer, "added_tokens_decoder", {}).values()
        words = {t.content for t in added if t.special} | set(tokenizer.all_special_tokens)
        # The longest first, because a token may contain another one.
        self.words = sorted((w for w in words if w.strip()), key=lambda w: (-len(w), w))
        self.pattern = re.compile("|".join(map(re.escape, self.words))) if self.words else None

    def count_all(self, value: object) -> int:
        """Return the number of special tokens that all strings in lists and objects spell out."""
        # Joined by a character of no token: most texts spell none, and one search tells that.
        joined = "\0".join(strings_in(value))
        return self.count(joined)

    def count(self, text: str) -> int:
        """Return the number of special tokens that the text spells out."""
        return len(self.pattern.findall(text)) if self.pattern else 0

    def escape(self, text: str) -> str:
        """Return the text with a mark in place of each special token."""
        if self.pattern is None:
            return text
        return self.pattern.sub(lambda m: f"{_OPEN}{self.words.index(m[0])}{_CLOSE}", text)

    def escape_all(self, value: Any) -> Any:
        """Return the value with all strings in its lists and objects escaped, also their keys."""
        if isinstance(value, str):
            return self.escape(value)
        if isinstance(value, Mapping):
            return {self.escape(key): self.escape_all(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.escape_all(item) for item in value]
        return value

    def tokens(self, escaped: str, *, add_special_tokens: bool = False) -> list[int]:
        """Encode an escaped and rendered text, with its marks as the plain text they stand for."""
        pieces = _MARK.split(escaped)
        ids = self._ids(pieces[0], add_special_tokens=add_special_tokens)
        if len(pieces) > 1 and ids[-1:] == [self.tokenizer.eos_token_id]:
            ids.pop()  # some tokenizers append the end to every text, also to a piece of one
        for mark, text in zip(pieces[1::2], pieces[2::2], strict=True):
            word = self.words[int(mark)] if int(mark) < len(self.words) else mark
            ids += self._ids(word, split_special_tokens=True)
            ids += self._ids(text) if text else []
        return ids

    def _ids(self, text: str, **settings: bool) -> list[int]:
        settings.setdefault("add_special_tokens", False)
        return list(self.tokenizer(text, **settings)["input_ids"])


def strings_in(value: object) -> list[str]:
    """Return every string in nested lists and objects, with the keys of objects."""
    strings: list[str] = []
    _collect(value, strings)
    return strings


def _collect(value: object, strings: list[str]) -> None:
    if isinstance(value, str):
        strings.append(value)
    elif isinstance(value, dict):
        strings += value
        for item in value.values():
            _collect(item, strings)
    elif isinstance(value, list | tuple):
        for item in value:
            _collect(item, strings)
