"""The model answers golden prompts: a stage before the tokens, dealt to all workers, done once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from dpo_core.encoding import encode
from dpo_core.errors import DataError
from dpo_core.models.golden_answers import (
    PAIRS_PER_PART,
    generate_missing_answers,
    insert_answers,
    unanswered_parts,
)
from dpo_core.preferences import PairTable, PreferenceSplits, chat_prompt
from dpo_core.storage.store import Store
from sweeps.config.schema import SweepConfig
from sweeps.ray_runtime.remote_call import RemoteCall
from sweeps.run_dir.paths import SPLITS, SweepRef


def deal(
    config: SweepConfig,
    splits: PreferenceSplits,
    call: RemoteCall,
    function: Callable[[SweepRef, int, int], int],
    sweep: SweepRef,
) -> None:
    """`function(sweep, share, shares)` for every share of the golden prompts, on as many workers as
    the sweep's trials may use at once. Raises what the first of them raises."""
    waiting = sum(PairTable.of(getattr(splits, split)).unanswered_count for split in SPLITS)
    workers = config.search.concurrent * config.resources.workers
    shares = min(workers, math.ceil(waiting / PAIRS_PER_PART))
    if not shares:
        return
    pool = ThreadPoolExecutor(shares)
    try:
        given = [pool.submit(call, function, sweep, i, shares) for i in range(shares)]
        for each in as_completed(given):
            each.result()
    finally:
        # Nobody waits for the others when one failed, or when the sweep is interrupted.
        pool.shutdown(wait=False, cancel_futures=True)


class GoldenAnswers:
    """The untouched model's answers to the golden prompts of some splits, in the reference cache."""

    def __init__(
        self,
        config: SweepConfig,
        cache: Store,
        splits: PreferenceSplits,
        tokenizer: Any,
        prints: Mapping[str, str],
    ) -> None:
        self.config, self.splits, self.tokenizer = config, splits, tokenizer
        self.store = cache.at("golden")
        data = config.data
        self.chat = encode.uses_chat_template(tokenizer, data.format)
        self.about = [
            *prints.values(),
            json.dumps(data.generation.model_dump()),
            f"{config.model.dtype} {config.seed} {data.max_tokens} {data.special_tokens} {self.chat}",
        ]

    def make(self, scorer: Any, share: int, shares: int) -> int:
        """Those of one share that are not there yet, by the scorer's model; returns how many parts."""
        parts = [part for s in SPLITS for part in unanswered_parts(getattr(self.splits, s))]

        def answer(prompts: Sequence[Any], seed: int) -> list[str]:
            return self._generate(scorer.model, prompts, seed)

        return generate_missing_answers(parts[share::shares], answer, self.store, self.about)

    def filled(self) -> tuple[PreferenceSplits, list[str]]:
        """The splits with the model's own answer as the rejected side of each golden pair, and why
        some make no pair. Raises DataError when a split is left empty."""
        if not any(PairTable.of(getattr(self.splits, split)).unanswered_count for split in SPLITS):
            return self.splits, []
        filled = {
            s: insert_answers(getattr(self.splits, s), self.store, self.about) for s in SPLITS
        }
        for split, found in filled.items():
            if not found.pairs:
                raise DataError(
                    f"no golden answer of the {split} split differs from the model's own "
                    f"({found.dropped[0]}); there is nothing to learn, or add data"
                )
        dropped = [reason for found in filled.values() for reason in found.dropped]
        return PreferenceSplits(**{s: PairTable.of(filled[s].pairs) for s in SPLITS}), dropped

    def _generate(self, model: Any, prompts: Sequence[Any], seed: int) -> list[str]:
        from dpo_core.models.generation import generate

        data, how = self.config.data, self.config.data.generation
        asked = (chat_prompt(prompt) if self.chat else prompt for prompt in prompts)
        tokens = [encode.prompt_tokens(p, self.tokenizer, data.special_tokens) for p in asked]
        answers = generate(
            model,
            self.tokenizer,
            [ids[-data.max_tokens :] for ids in tokens],
            how.max_new_tokens,
            temperature=how.temperature,
            seed=seed,
        )
        return [answer.text for answer in answers]
