"""The command `preview`: what the first rows of each source become, up to the text that is trained on.

It loads the tokenizer and no weights, and reads no more of a file than it must.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from dpo_core.audit.findings import Finding
from dpo_core.audit.formatted_text import TextUse
from dpo_core.audit.pair_checks import audit
from dpo_core.encoding import encode
from dpo_core.encoding.rules import EncodingRules
from dpo_core.encoding.token_table import EncodedPair, TokenIds
from dpo_core.errors import DataError
from dpo_core.preferences import PreferencePair, as_chat
from dpo_core.preferences.golden import is_unanswered, with_placeholder_answer
from dpo_core.preferences.messages import Message, Turns, content_of
from dpo_core.preferences.pairs import location
from dpo_core.preferences.sources import first_rows
from sweeps.config.schema import SweepConfig
from sweeps.preflight.json_types import PairJson, PreviewJson
from sweeps.prepare.audit_report import finding_json
from sweeps.prepare.data import text_use

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Findings about a data set say nothing of one row.
_OF_THE_WHOLE = ("longer_wins", "large_group", "small_select", "small_final")
_CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_MODELS_OWN = "(the model's own answer, which the run generates)"


class PreviewedRow(NamedTuple):
    """A pair with everything that it becomes."""

    pair: PreferencePair
    encoded: EncodedPair
    text: Mapping[str, str]
    """The rendered text of the prompt, and of each answer as it is trained on, after cutting."""
    findings: Sequence[Finding]


class RefusedPair(NamedTuple):
    """A pair that the chat template or the tokenizer refuses."""

    pair: PreferencePair
    error: DataError


Row = PreviewedRow | RefusedPair | DataError
"""The last is the error of a row that makes no pair."""


def preview_rows(config: SweepConfig, rows: int) -> Iterator[Row]:
    """Yield what the first rows of each source become, in the order of its file.

    Args:
        config: The sweep.
        rows: How many rows of each source.

    Yields:
        Each row, or its error.

    Raises:
        UserError: A source cannot be read, or the tokenizer not be loaded.
    """
    from dpo_core.models.load import load_tokenizer, silence_libraries

    silence_libraries()
    tokenizer = load_tokenizer(config.model)
    use = text_use(config, tokenizer)
    for source in (*config.data.all_sources, *config.data.fixed_splits.values()):
        for pair in first_rows(source, rows):
            yield pair if isinstance(pair, DataError) else _previewed(pair, config, tokenizer, use)


def _previewed(
    pair: PreferencePair, config: SweepConfig, tokenizer: PreTrainedTokenizerBase, use: TextUse
) -> PreviewedRow | RefusedPair:
    pair = as_chat(pair) if use.is_chat else pair
    whole = with_placeholder_answer(pair) if is_unanswered(pair) else pair
    data = config.data
    try:
        [encoded] = encode.encode([whole], tokenizer, data.max_tokens, EncodingRules.of(data))
    except DataError as error:
        return RefusedPair(pair, error)
    findings = audit({"train": [whole]}, {"train": [encoded]}, data.max_tokens, use)
    if is_unanswered(pair):
        encoded = replace(encoded, rejected=())
    return PreviewedRow(
        pair,
        encoded,
        _decoded(encoded, tokenizer),
        [finding for finding in findings if finding.code not in _OF_THE_WHOLE],
    )


def _decoded(encoded: EncodedPair, tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    prompt = _text(encoded.prompt, tokenizer)
    answers = {"chosen": encoded.chosen, "rejected": encoded.rejected}
    texts = {"prompt": prompt}
    for side, ids in answers.items():
        # Some tokenizers drop the space before the first word of what they decode.
        whole = _text(encoded.prompt + ids, tokenizer)
        is_joined = whole.startswith(prompt)
        texts[side] = whole[len(prompt) :] if is_joined else _text(ids, tokenizer)
    return texts


def _text(ids: TokenIds, tokenizer: PreTrainedTokenizerBase) -> str:
    return str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))


def row_json(row: Row) -> PreviewJson:
    """Return a row as `preview --json` prints it, one object a line."""
    if isinstance(row, DataError):
        return {"error": str(row)}
    shown: PreviewJson = {"location": location(row.pair), "pair": _pair_json(row.pair)}
    if isinstance(row, RefusedPair):
        return {**shown, "error": str(row.error)}
    encoded = row.encoded
    return {
        **shown,
        "text": row.text,
        "tokens": {
            "prompt": len(encoded.prompt),
            "chosen": len(encoded.chosen),
            "rejected": len(encoded.rejected),
        },
        "findings": [finding_json(finding) for finding in row.findings],
    }


def _pair_json(pair: PreferencePair) -> PairJson:
    content: PairJson = {
        "prompt": _side(pair.prompt),
        "chosen": _side(pair.chosen),
        "rejected": _side(pair.rejected),
    }
    if pair.tools:
        content["tools"] = list(pair.tools)
    if pair.template_kwargs:
        content["chat_template_kwargs"] = dict(pair.template_kwargs)
    return content


def _side(side: Turns | str) -> str | list[Message]:
    return side if isinstance(side, str) else [dict(message) for message in side]


def row_lines(row: Row) -> list[str]:
    """Return a row as lines for a reader, without control characters."""
    if isinstance(row, DataError):
        lines = [f"error: {row}"]
    elif isinstance(row, RefusedPair):
        lines = [f"error: {row.error}", *_pair_lines(row.pair)]
    else:
        lines = [*_lengths(row), *_pair_lines(row.pair), *_text_lines(row.text)]
        lines += [line for finding in row.findings for line in _finding_lines(finding)]
    return [printable(line) for line in lines]


def printable(text: str) -> str:
    """Return the text with escapes in place of characters that would move or colour a terminal."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def _lengths(row: PreviewedRow) -> Iterator[str]:
    encoded = row.encoded
    yield (
        f"{location(row.pair)}: {len(encoded.prompt)} tokens of prompt, {len(encoded.chosen)} of "
        f"chosen, {len(encoded.rejected)} of rejected"
    )
    if encoded.cut_prompt or encoded.cut_answers:
        yield (
            f"  cut: {encoded.cut_prompt} tokens of the prompt ({encoded.cut_turns} oldest turns, and "
            f"{encoded.cut_question} tokens of the last turn), {encoded.cut_answers} of the answers"
        )


def _pair_lines(pair: PreferencePair) -> Iterator[str]:
    if pair.tools:
        yield f"  tools: {json.dumps(pair.tools, ensure_ascii=False)}"
    if pair.template_kwargs:
        yield f"  chat_template_kwargs: {json.dumps(pair.template_kwargs, ensure_ascii=False)}"
    yield from _side_lines("prompt", pair.prompt)
    yield from _side_lines("chosen", pair.chosen)
    yield from _side_lines("rejected", pair.rejected or _MODELS_OWN)


def _text_lines(text: Mapping[str, str]) -> Iterator[str]:
    yield "  as the model reads it; + and - are trained on, as chosen and as rejected:"
    for side, mark in (("prompt", "|"), ("chosen", "+"), ("rejected", "-")):
        yield from (f"    {mark} {line}" for line in text[side].split("\n"))


def _finding_lines(finding: Finding) -> Iterator[str]:
    message = finding.message.removeprefix("of ").removeprefix("pairs ")
    yield f"  {finding.severity}: pairs like this one {message}"
    if finding.remedy:
        yield f"    {finding.remedy}"


def _side_lines(name: str, side: Turns | str) -> Iterator[str]:
    turns: Turns = ({"role": "text", "content": side},) if isinstance(side, str) else side
    for message in turns:
        rest = {k: v for k, v in message.items() if k not in ("role", "content")}
        extra = f" {json.dumps(rest, ensure_ascii=False)}" if rest else ""
        text = content_of(message).replace("\n", "\n      ")
        yield from f"  {name}, {message['role']}: {text}{extra}".split("\n")
