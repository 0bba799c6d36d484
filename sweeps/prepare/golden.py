"""The rejected answers of golden pairs: the untouched model generates them, once, on all workers.

Tested in tests/integration/test_pipeline.py, and its cache in
tests/unit/dpo_core/models/test_golden_answers.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from dpo_core.encoding.encode import uses_chat_template
from dpo_core.encoding.pair_encoder import PairEncoder
from dpo_core.encoding.rules import EncodingRules
from dpo_core.errors import DataError
from dpo_core.models.golden_answers import (
    PAIRS_PER_PART,
    generate_missing_answers,
    insert_answers,
    unanswered_parts,
)
from dpo_core.preferences import PairTable, PreferencePair, PreferenceSplits, as_chat
from dpo_core.preferences.golden import is_unanswered
from dpo_core.preferences.notes.bad_rows import BadRows
from dpo_core.settings import DataSettings
from dpo_core.storage.store import Store
from sweeps.config.schema import SweepConfig
from sweeps.ray_runtime.remote_call import call_in_shares
from sweeps.run_dir.paths import SPLITS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from dpo_core.scoring.scorer import Scorer


def generate_on_workers(
    config: SweepConfig, splits: PreferenceSplits, generate_share: Callable[[int, int], int]
) -> None:
    """Generate the missing answers on as many workers as the sweep's trials may use at once.

    Args:
        config: The sweep.
        splits: Its pairs, of which some may have no rejected answer.
        generate_share: Generates one share of the answers on a worker. It is called in threads, with
            `share` (from 0) and `shares`; what the first of the calls raises is raised.
    """
    unanswered = sum(PairTable.of(getattr(splits, split)).unanswered_count for split in SPLITS)
    call_in_shares(config, math.ceil(unanswered / PAIRS_PER_PART), generate_share)


class GoldenAnswers:
    """The untouched model's answers to the golden prompts of some splits, in the reference cache."""

    def __init__(
        self,
        config: SweepConfig,
        cache: Store,
        splits: PreferenceSplits,
        tokenizer: PreTrainedTokenizerBase,
        fingerprints: Mapping[str, str],
    ) -> None:
        """Keep what the answers depend on; `fingerprints` are those of weights and tokenizer."""
        self.config, self.splits, self.tokenizer = config, splits, tokenizer
        self.store = cache.at("golden")
        data = config.data
        self.chat = uses_chat_template(tokenizer, data.format)
        self.about = [
            *fingerprints.values(),
            json.dumps(data.generation.model_dump()),
            f"{config.model.dtype} {config.seed} {data.max_tokens} {data.special_tokens} {self.chat}",
            *_settings_beyond_defaults(data),
        ]

    def generate(self, scorer: Scorer, share: int, shares: int) -> int:
        """Generate and store the answers of one share that are not stored yet.

        Args:
            scorer: Its model answers.
            share: The number of the share, from 0.
            shares: How many shares there are.

        Returns:
            How many parts were generated.
        """
        splits, _ = self.askable
        parts = [part for s in SPLITS for part in unanswered_parts(getattr(splits, s))]

        def answer(pairs: Sequence[PreferencePair], seed: int) -> list[str]:
            return self._generate(scorer.model, pairs, seed)

        return generate_missing_answers(parts[share::shares], answer, self.store, self.about)

    def completed_splits(self) -> tuple[PreferenceSplits, list[str]]:
        """Make the model's own answer the rejected one of each golden pair.

        Returns:
            The splits, and why some golden answers make no pair.

        Raises:
            DataError: A split would be empty.
        """
        if not any(PairTable.of(getattr(self.splits, split)).unanswered_count for split in SPLITS):
            return self.splits, []
        splits, refused = self.askable
        completed = {s: insert_answers(getattr(splits, s), self.store, self.about) for s in SPLITS}
        for split, part in completed.items():
            if not part.pairs:
                raise DataError(
                    f"no golden answer of the {split} split differs from the model's own "
                    f"({[*part.dropped, *refused][0]}); there is nothing to learn, or add data"
                )
        dropped = [*refused, *(why for part in completed.values() for why in part.dropped)]
        return PreferenceSplits(*(PairTable.of(completed[s].pairs) for s in SPLITS)), dropped

    @cached_property
    def askable(self) -> tuple[PreferenceSplits, list[str]]:
        """Return the splits without golden prompts that the template refuses, and why it does.

        Raises:
            DataError: There are such prompts, and they must not be left out.
        """
        bad_rows = BadRows(self.config.data.on_bad_row == "skip")
        kept = [self._askable(getattr(self.splits, split), bad_rows) for split in SPLITS]
        bad_rows.refuse()
        train, select, final = kept
        splits = replace(self.splits, train=train, select=select, final=final)
        return splits, bad_rows.reasons

    def _askable(
        self, pairs: Sequence[PreferencePair], bad_rows: BadRows
    ) -> Sequence[PreferencePair]:
        prompts = [self._prompt(pair) for pair in pairs if is_unanswered(pair)]
        encoded = self._encoder.encode(prompts)
        errors = [error for error in encoded if isinstance(error, DataError)]
        if not errors:
            return pairs
        for error in errors:
            bad_rows.add(error)
        refused = {
            pair.id
            for pair, each in zip(prompts, encoded, strict=True)
            if isinstance(each, DataError)
        }
        return [pair for pair in pairs if pair.id not in refused]

    @cached_property
    def _encoder(self) -> PairEncoder:
        data = self.config.data
        return PairEncoder(self.tokenizer, data.max_tokens, EncodingRules.of(data))

    def _prompt(self, pair: PreferencePair) -> PreferencePair:
        """Return the prompt of a golden pair as it is asked, without answers."""
        return replace(as_chat(pair) if self.chat else pair, chosen=(), rejected=())

    def _generate(
        self, model: PreTrainedModel, pairs: Sequence[PreferencePair], seed: int
    ) -> list[str]:
        from dpo_core.models.generation import generate

        how = self.config.data.generation
        answers = generate(
            model,
            self.tokenizer,
            self._encoder.prompt_tokens([self._prompt(pair) for pair in pairs]),
            how.max_new_tokens,
            temperature=how.temperature,
            seed=seed,
        )
        return [answer.text for answer in answers]


def _settings_beyond_defaults(data: DataSettings) -> list[str]:
    """Return what else decides the tokens of a prompt, where it is set.

    Answers of earlier versions, which had no such settings, are used again.
    """
    rules = EncodingRules.of(data)
    source_kwargs = {label: dict(kwargs) for label, kwargs in rules.source_kwargs.items() if kwargs}
    settings = {
        "system": "fold" if rules.fold_system else None,
        "chat_template_kwargs": dict(rules.template_kwargs),
        "sources": source_kwargs,
        "min_prompt_tokens": rules.min_prompt_tokens,
    }
    return [json.dumps(settings, sort_keys=True)] if any(settings.values()) else []
