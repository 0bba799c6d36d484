"""Encoding of one pair: chat template, token ids and cutting.

A pair becomes three lists of tokens: the prompt, and what the chat template renders after it for
each answer. So the end-of-turn token is part of the answer, as in TRL. If the template or a merge of
characters across the border changes tokens of the prompt, the prompt ends where the three renderings
diverge, the rest belongs to the answers, and the encoding report counts the pair as `merged`.

Tested in tests/unit/dpo_core/encoding/test_encode.py and test_truncation.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from dpo_core.encoding.rendering import (
    Conversation,
    LimitBroken,
    Refusal,
    RenderedTexts,
    render,
    template_texts,
)
from dpo_core.encoding.rules import EncodingRules
from dpo_core.encoding.special_tokens import SpecialTokenEscaper
from dpo_core.encoding.template_losses import Loss, ignored_settings, template_losses
from dpo_core.encoding.token_ids import token_ids
from dpo_core.encoding.token_table import EncodedPair, TokenIds
from dpo_core.encoding.truncation import Cutting, Limits, common_prefix, cut_pair
from dpo_core.encoding.turns import fold_system
from dpo_core.errors import DataError, ModelError
from dpo_core.preferences.pairs import PreferencePair

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Encoded = EncodedPair | DataError


class PairEncoder:
    """Encodes pairs with one tokenizer, by the same rules."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, max_tokens: int, rules: EncodingRules
    ) -> None:
        self.tokenizer, self.max_tokens, self.rules = tokenizer, max_tokens, rules
        as_text = rules.special_tokens == "as_text"
        self.escaper = SpecialTokenEscaper(tokenizer) if as_text else None
        self.template = template_texts(tokenizer)

    def encode(self, pairs: Sequence[PreferencePair]) -> list[Encoded]:
        """Return the tokens of each pair, cut where they are too many, or why there are none.

        Raises:
            DataError: The tokenizer lacks the chat template or the end token that the pairs need.
            ModelError: The template breaks a limit on time, memory or length.
        """
        results = self._whole(pairs)
        limits = Limits(self.max_tokens, self.rules.least_question(self.max_tokens))
        open_: dict[int, tuple[Cutting, EncodedPair | None]] = {
            i: (cut_pair(pairs[i], encoded, limits, self._token_starts), None)
            for i, encoded in enumerate(results)
            if isinstance(encoded, EncodedPair) and encoded.longest_sequence > self.max_tokens
        }
        while open_:  # in rounds, because template and tokenizer take many texts at once faster
            steps = {i: self._step(pairs[i], *each) for i, each in open_.items()}
            asked = {i: step for i, step in steps.items() if isinstance(step, PreferencePair)}
            encoded_now = dict(zip(asked, self._whole([*asked.values()]), strict=True))
            for i, step in {**steps, **encoded_now}.items():
                assert not isinstance(step, PreferencePair)
                results[i] = step
            open_ = {
                i: (open_[i][0], encoded)
                for i, encoded in encoded_now.items()
                if isinstance(encoded, EncodedPair)
            }
        return results

    def prompt_tokens(self, pairs: Sequence[PreferencePair]) -> list[TokenIds]:
        """Return the tokens of prompts that a model is to answer, cut as those of encoded pairs are.

        Raises:
            DataError: A prompt cannot be encoded.
            ModelError: The template breaks a limit on time, memory or length.
        """
        prompts = []
        for encoded in self.encode([replace(pair, chosen=(), rejected=()) for pair in pairs]):
            if isinstance(encoded, DataError):
                raise encoded
            prompts.append(encoded.prompt)
        return prompts

    def _step(
        self, pair: PreferencePair, cutting: Cutting, encoded: EncodedPair | None
    ) -> PreferencePair | Encoded:
        """Return the next pair that cutting asks for; at the end the pair as cut, or why it is not."""
        try:
            return next(cutting) if encoded is None else cutting.send(encoded)
        except StopIteration as end:
            cut: EncodedPair = end.value
            return cut
        except DataError as error:
            return DataError(f"{self.rules.where(pair)}: {error}")

    def _whole(self, pairs: Sequence[PreferencePair]) -> list[Encoded]:
        """Encode pairs without cutting; of a pair without answers, the prompt alone."""
        jobs = [self._job(pair) for pair in pairs]
        texts = self._texts(jobs)
        rendered = [
            (job, text)
            for job, text in zip(jobs, texts, strict=True)
            if isinstance(text, RenderedTexts)
        ]
        ids = iter(self._token_ids(rendered))
        results: list[Encoded] = []
        for job, text in zip(jobs, texts, strict=True):
            try:
                if isinstance(text, Refusal):
                    raise _refused(job, text)
                own = next(ids)
                _check_text(job.pair)
                results.append(_encoded(job, own, self._losses(job, text)))
            except DataError as error:
                results.append(DataError(f"{self.rules.where(job.pair)}: {error}"))
        return results

    def _job(self, pair: PreferencePair) -> _Job:
        """Return what must be rendered, with special tokens that the pair spells out escaped."""
        pair = _without_end(pair, self.tokenizer.eos_token) if self.escaper else pair
        content = self._content(pair)
        if self.escaper is None:
            return _Job(pair, content, 0)
        words = self.escaper.count_all(content)
        if words and isinstance(pair.prompt, str):  # the prompt is in all texts, but counts once
            words = self.escaper.count_all((pair.prompt, pair.chosen, pair.rejected)) or words
        if words:
            content = type(content)(*self.escaper.escape_all(content))
        return _Job(pair, content, words)

    def _content(self, pair: PreferencePair) -> Conversation | RenderedTexts:
        """Return the conversation, or of a text pair the texts, which no template changes."""
        if isinstance(pair.prompt, str):
            texts = (f"{pair.prompt}{answer}" for answer in (pair.chosen, pair.rejected) if answer)
            return RenderedTexts(pair.prompt, tuple(texts))
        prompt = fold_system(pair.prompt) if self.rules.fold_system else pair.prompt
        answers = [
            each for each in (pair.chosen, pair.rejected) if isinstance(each, tuple) and each
        ]
        settings = self.rules.kwargs_for(pair.source, pair.template_kwargs)
        return Conversation(prompt, answers, pair.tools, settings)

    def _texts(self, jobs: Sequence[_Job]) -> list[RenderedTexts | Refusal]:
        """Return the strings that the tokenizer encodes, for each job, or why there are none."""
        chat = [job.content for job in jobs if isinstance(job.content, Conversation)]
        if chat and not self.template:
            raise DataError(
                "the data holds chat messages and the tokenizer has no chat template; "
                "use a chat model, or plain strings for prompt, chosen and rejected"
            )
        if len(chat) < len(jobs) and self.tokenizer.eos_token_id is None:
            raise DataError(
                "the data holds plain texts and the tokenizer has no end-of-sequence token to "
                "close an answer with; set its eos_token, or use chat messages and a chat model"
            )
        try:
            rendered = iter(render(chat, self.tokenizer) if chat else ())
        except LimitBroken as error:
            pair = [job.pair for job in jobs if job.is_chat][error.number]
            raise ModelError(
                f"{self.rules.where(pair)}: the model's chat template {error.words}; no row would be "
                "safe from that, so correct the template or use another model"
            ) from None
        return [
            job.content if isinstance(job.content, RenderedTexts) else next(rendered)
            for job in jobs
        ]

    def _token_ids(self, texts: Sequence[tuple[_Job, RenderedTexts]]) -> list[list[TokenIds]]:
        """Return the token ids of each text of each job.

        Texts without special tokens go through the tokenizer together, which then uses all cores.
        """
        flat = [(job, text) for job, each in texts for text in (each.prompt, *each.with_answers)]
        ids: list[Sequence[int]] = [()] * len(flat)
        for is_chat in (True, False):
            # Chat templates write all special tokens, so the tokenizer must add none to chat texts.
            common = [
                i for i, (job, _) in enumerate(flat) if job.is_chat == is_chat and not job.words
            ]
            if common:
                batch = [flat[i][1] for i in common]
                encoded = token_ids(batch, self.tokenizer, add_special_tokens=not is_chat)
                for i, each in zip(common, encoded, strict=True):
                    ids[i] = each
        for i, (job, text) in enumerate(flat):
            if job.words and self.escaper:
                ids[i] = self.escaper.tokens(text, add_special_tokens=not job.is_chat)
        each_id = iter(ids)
        return [
            [
                self._with_end(job, next(each_id), is_prompt=number == 0)
                for number in range(1 + len(text.with_answers))
            ]
            for job, text in texts
        ]

    def _with_end(self, job: _Job, ids: Sequence[int], *, is_prompt: bool) -> TokenIds:
        """Append the end-of-sequence token to a text answer, so that the policy learns where to stop.

        It is removed from a text prompt that the tokenizer has closed.
        """
        tokens = tuple(ids)
        if job.is_chat:
            return tokens
        end = (self.tokenizer.eos_token_id,)
        if is_prompt:
            return tokens[:-1] if tokens[-1:] == end else tokens
        return tokens if tokens[-1:] == end else tokens + end

    def _losses(self, job: _Job, texts: RenderedTexts) -> tuple[Loss, ...]:
        if not isinstance(job.content, Conversation):
            return ()
        losses = template_losses(job.content, texts)
        settings = job.content.template_kwargs
        return (*losses, *ignored_settings(settings, self.template)) if settings else losses

    def _token_starts(self, text: str) -> list[int]:
        """Return the position of the first character of each token of a text."""
        encoded = self.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=self.tokenizer.is_fast
        )
        if self.tokenizer.is_fast:
            return [start for start, _ in encoded["offset_mapping"]]
        count = len(encoded["input_ids"])
        return [len(text) * i // count for i in range(count)]


class _Job(NamedTuple):
    """A pair, what is rendered or encoded of it, and how many special tokens it spells out."""

    pair: PreferencePair
    content: Conversation | RenderedTexts
    words: int

    @property
    def is_chat(self) -> bool:
        return isinstance(self.content, Conversation)


def _check_text(pair: PreferencePair) -> None:
    """Raise DataError for a text pair with what only a chat template can show."""
    names = {"tools": pair.tools, "chat_template_kwargs": pair.template_kwargs}
    present = [name for name, value in names.items() if value]
    if present and isinstance(pair.prompt, str):
        raise DataError(
            f"has {present[0]}, which only a chat template can show, and is encoded as plain text; use "
            "a chat model and data.format: chat, or leave the column out"
        )


def _without_end(pair: PreferencePair, end: str | None) -> PreferencePair:
    """Remove the end-of-sequence token from text answers, because encoding adds it anyway."""
    if not end or not isinstance(pair.chosen, str) or not isinstance(pair.rejected, str):
        return pair
    return replace(
        pair, chosen=pair.chosen.removesuffix(end), rejected=pair.rejected.removesuffix(end)
    )


def _refused(job: _Job, refusal: Refusal) -> DataError:
    """Return the error of a row that a template does not render."""
    ways = "leave it out with data.on_bad_row: skip"
    if isinstance(job.content, Conversation) and any(
        message["role"] == "system" for message in job.content.prompt
    ):
        ways = f"put its system text before the user's with data.system: fold, or {ways}"
    return DataError(f"the model's chat template refuses this row: {refusal.words!r}; {ways}")


def _encoded(job: _Job, ids: list[TokenIds], losses: tuple[Loss, ...]) -> EncodedPair:
    pair, (prompt, *whole) = job.pair, ids
    shared = min((common_prefix(prompt, each) for each in whole), default=len(prompt))
    chosen, rejected = [each[shared:] for each in whole] or [(), ()]
    if not (shared and (not whole or (chosen and rejected))):
        empty = "prompt" if not shared else "chosen answer" if not chosen else "rejected answer"
        raise DataError(f"the {empty} has no tokens; every side needs some text")
    return EncodedPair(
        pair.id,
        prompt[:shared],
        chosen,
        rejected,
        merged=shared < len(prompt),
        special_words=job.words,
        source=pair.source,
        category=pair.category,
        losses=losses,
        weight=1.0 if pair.weight is None else pair.weight,
        margin=pair.margin or 0.0,
    )
