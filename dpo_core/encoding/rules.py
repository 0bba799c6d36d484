"""The rules by which one sweep encodes its pairs.

Tested in tests/unit/dpo_core/encoding/test_encode.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dpo_core.preferences.pairs import PreferencePair
from dpo_core.settings import DataSettings

DEFAULT_MIN_PROMPT_TOKENS = 32


@dataclass(frozen=True)
class EncodingRules:
    """Settings that decide tokens, beside the pairs and the tokenizer."""

    special_tokens: str = "as_text"
    """`as_text` encodes a special token that a text spells out as plain text, `keep` as the token."""
    min_prompt_tokens: int | None = None
    """Tokens of the last question that cutting leaves; see `least_question`."""
    fold_system: bool = False
    """Put the text of a system message before the user's turn that follows it."""
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Settings for the chat template."""
    source_kwargs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The same by the label of a source, whose own settings come first."""
    source_paths: Mapping[str, str] = field(default_factory=dict)
    """Where each source was read from, by its label; for errors."""

    @classmethod
    def of(cls, data: DataSettings) -> EncodingRules:
        """Return the rules that a sweep's settings give."""
        sources = [*data.all_sources, *data.fixed_splits.values()]
        return cls(
            special_tokens=data.special_tokens,
            min_prompt_tokens=data.min_prompt_tokens,
            fold_system=data.system == "fold",
            template_kwargs=data.chat_template_kwargs,
            source_kwargs={s.label: s.chat_template_kwargs for s in sources},
            source_paths={s.label: s.path for s in sources},
        )

    def where(self, pair: PreferencePair) -> str:
        """Return the file and line from which a pair was read."""
        return f"{self.source_paths.get(pair.source or '', pair.source or 'data')}:{pair.line}"

    def kwargs_for(self, source: str | None, own: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings for the chat template of a pair of a source with settings of its own."""
        return {**self.template_kwargs, **self.source_kwargs.get(source or "", {}), **own}

    def least_question(self, max_tokens: int) -> int:
        """Return the tokens of the last question that cutting to `max_tokens` leaves."""
        return self.min_prompt_tokens or min(DEFAULT_MIN_PROMPT_TOKENS, max_tokens // 4)
