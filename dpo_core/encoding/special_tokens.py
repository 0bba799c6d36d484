"""Text of users that spells a special token, tokenized as the text it is.

A prompt or answer that contains `<|im_end|>` would end its own turn, and one that contains
`<|im_start|>system` would speak as the system. Such words are taken out before the chat template is
applied, and come back as plain text among the tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

# Noncharacters of Unicode, which no text holds. One that does gets plain words, nothing more.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_MARK = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")


class SpecialTokenEscaper:
    """The special tokens of one tokenizer, and how to write them as text."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        added = getattr(tokenizer, "added_tokens_decoder", {}).values()
        words = {t.content for t in added if t.special} | set(tokenizer.all_special_tokens)
        # The longest first, or a token inside another would break it.
        self.words = sorted((w for w in words if w.strip()), key=lambda w: (-len(w), w))
        self.pattern = re.compile("|".join(map(re.escape, self.words))) if self.words else None

    def count(self, text: str) -> int:
        """How many special tokens the text spells."""
        return len(self.pattern.findall(text)) if self.pattern else 0

    def escape(self, text: str) -> str:
        """The text with a mark in place of each special token."""
        if self.pattern is None:
            return text
        return self.pattern.sub(lambda m: f"{_OPEN}{self.words.index(m[0])}{_CLOSE}", text)

    def escape_turns(self, turns: Sequence[dict[str, str]]) -> list[dict[str, str]]:
        return [{**message, "content": self.escape(message["content"])} for message in turns]

    def tokens(self, escaped: str, *, add_special_tokens: bool = False) -> list[int]:
        """Token ids of a rendered text, its marks as plain text."""
        pieces = _MARK.split(escaped)
        ids = self._ids(pieces[0], add_special_tokens=add_special_tokens)
        if len(pieces) > 1 and ids[-1:] == [self.tokenizer.eos_token_id]:
            ids.pop()  # some tokenizers close every text that they are given, also a piece
        for mark, text in zip(pieces[1::2], pieces[2::2], strict=True):
            word = self.words[int(mark)] if int(mark) < len(self.words) else mark
            ids += self._ids(word, split_special_tokens=True)
            ids += self._ids(text) if text else []
        return ids

    def _ids(self, text: str, **settings: Any) -> list[int]:
        settings.setdefault("add_special_tokens", False)
        return list(self.tokenizer(text, **settings)["input_ids"])
