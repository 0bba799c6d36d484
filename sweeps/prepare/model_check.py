"""The check of the base model, where trials will run and before any of them.

It reads the weights once and does on the longest pair what every trial and the export do, so a model
that cannot be tuned ends the sweep in seconds, with one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from dpo_core.encoding import encode
from dpo_core.encoding.rules import EncodingRules
from dpo_core.encoding.token_table import PARTS, TokenTable
from dpo_core.errors import ModelError
from dpo_core.hardware import peak_memory_bytes
from dpo_core.hyperparams import DPOHyperparams
from dpo_core.preferences import PairTable, PreferenceSplits, as_chat
from dpo_core.preferences.golden import is_unanswered, with_placeholder_answer
from dpo_core.settings import FLOAT32
from search_spaces import Choice
from sweeps.config.schema import SweepConfig
from sweeps.prepare.memory_estimate import model_size
from sweeps.run_dir.json_types import ModelCheckJson
from sweeps.run_dir.paths import SPLITS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from dpo_core.scoring.scorer import Scorer
    from dpo_core.training.one_step import OneStep
    from dpo_core.training.trial_data import TrialData

TokenTables = Mapping[str, TokenTable]
GIB = 2**30
_NAMED = 3  # tensors of each part that are named


class ModelCheck:
    """A check in three parts: of the model itself, against the data, and by two training steps."""

    def __init__(
        self, config: SweepConfig, tokenizer: PreTrainedTokenizerBase, scorer: Scorer
    ) -> None:
        from dpo_core.training.one_step import OneStep

        self.config, self.tokenizer, self.scorer = config, tokenizer, scorer
        self.one_step: OneStep = OneStep(config.model, config.training, tokenizer)
        self.left_out: dict[str, list[str]] = {}
        self.longest = 0

    def read(self) -> None:
        """Load the model; check its files, its weights and its special tokens.

        Raises:
            ModelError: Something is wrong with them, the device is too small, or it is no decoder.
        """
        from dpo_core.models.load import check_without_weights
        from dpo_core.models.loaded_checks import (
            check_causality,
            check_loaded_numbers,
            check_numbers,
            check_vocabulary,
        )
        from dpo_core.scoring.precision import scoring_precision
        from dpo_core.training.one_step import ADAPT

        path, scorer, one_step = self.config.model.path, self.scorer, self.one_step
        self.left_out = check_without_weights(self.config.model)
        with one_step.part("adapting the shapes", ADAPT):
            refuse_too_large(self.config, scorer.device)
        with one_step.part("reading the weights", _FETCH):
            model = scorer.model
            check_numbers(path, model)
            check_loaded_numbers(self.config.model, model)
        check_vocabulary(path, model, self.tokenizer)
        with (
            one_step.part("one pass", _FETCH),
            scoring_precision(model, self.config.model, FLOAT32),
        ):
            check_causality(path, model)

    def compare(self, tokens: TokenTables) -> None:
        """Compare the model with the data.

        Args:
            tokens: The tokens of each split.

        Raises:
            ModelError: The vocabulary or the positions are not what the data needs.
        """
        self.longest = check_tokens(
            self.config.model.path, self.scorer.model, self.tokenizer, tokens.values()
        )

    def try_out(self, tokens: TokenTables, checkpointing: bool, scratch: Path) -> ModelCheckJson:
        """Train one step on the longest pair, save, load, merge, and generate two tokens.

        Args:
            tokens: The tokens of each split.
            checkpointing: Whether trials will checkpoint activations.
            scratch: A folder for what is saved.

        Returns:
            What was checked, with its seconds.

        Raises:
            ModelError: A part failed.
        """
        from dpo_core.training.trial_data import TrialData

        config, scorer, one_step = self.config, self.scorer, self.one_step
        train = tokens["train"]
        pair = train[int(np.argmax(np.where(train.distinct, train.sequence_lengths, 0)))]
        one_step.training = config.training.model_copy(
            update={"row_tokens": scorer.row_tokens, "gradient_checkpointing": checkpointing}
        )
        reference = scorer([pair])
        data = TrialData([pair], [pair], reference, reference, scorer.layout)
        too_large = self._try_training(data, scratch)
        one_step.generate(scorer.model, train[int(np.argmin(train.sequence_lengths))])
        return {
            "seconds": one_step.seconds,
            "longest_pair_tokens": self.longest,
            "left_out": {
                part: {"tensors": len(names), "first": names[:_NAMED]}
                for part, names in self.left_out.items()
            },
            "too_large": too_large,
            "peak_memory_bytes": peak_memory_bytes(scorer.device),
        }

    def _try_training(self, data: TrialData, scratch: Path) -> str | None:
        """Train with the highest rank, and with the lowest where that needs too much memory.

        A rank that does not fit fails its own trials, not the sweep.

        Returns:
            Why trials with the highest rank will fail; None where they will not.
        """
        from dpo_core.training.one_step import DoesNotFit

        def try_rank(rank: int | None) -> None:
            point = DPOHyperparams(learning_rate=1e-6, beta=0.1, lora_rank=rank)
            self.one_step.try_training(self.scorer.model, data, point, scratch)

        lowest, highest = rank_range(self.config)
        try:
            try_rank(highest)
        except DoesNotFit as error:
            if lowest == highest:
                raise
            try_rank(lowest)
            return f"trials with lora_rank {highest} will fail: {error}"
        return None


def check_longest_pairs(config: SweepConfig, splits: PreferenceSplits) -> None:
    """Compare a model in a folder of this machine with the data before anything is started.

    The pairs of each split that have most bytes are encoded, so that it takes a second, whatever the
    data; a worker compares all pairs. Models that are elsewhere are compared there.

    Args:
        config: The sweep.
        splits: Its pairs.

    Raises:
        UserError: The tokenizer cannot be used with the model or the data, or a pair is longer than the
            model has positions for.
    """
    from dpo_core.models.load import load_shapes, load_tokenizer

    if not Path(config.model.path).is_dir():
        return
    tokenizer = load_tokenizer(config.model)
    chat = encode.uses_chat_template(tokenizer, config.data.format)
    longest = [p for s in SPLITS for p in PairTable.of(getattr(splits, s)).longest(_LONGEST)]
    answered = [with_placeholder_answer(p) if is_unanswered(p) else p for p in longest]
    encoded = encode.encode(
        map(as_chat, answered) if chat else answered,
        tokenizer,
        config.data.max_tokens,
        EncodingRules.of(config.data),
        lambda _: None,  # a row that a template refuses is said when all are encoded
    )
    tokens = TokenTable.of([*encoded])
    if len(tokens):
        check_tokens(config.model.path, load_shapes(config.model), tokenizer, [tokens])


def check_tokens(
    path: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tables: Iterable[TokenTable],
) -> int:
    """Compare a model's vocabulary and positions with tokens.

    Args:
        path: What the settings call the model.
        model: The model, with or without its weights.
        tokenizer: Its tokenizer.
        tables: The tokens of pairs.

    Returns:
        The tokens of the longest prompt with its longer answer.

    Raises:
        ModelError: The model lacks the vocabulary or the positions.
    """
    from dpo_core.models.loaded_checks import check_positions, check_vocabulary

    tables = list(tables)
    longest = max(int(table.sequence_lengths.max()) for table in tables)
    check_vocabulary(path, model, tokenizer, max(map(_largest_id, tables)))
    check_positions(path, model, longest)
    return longest


def refuse_too_large(config: SweepConfig, device: str) -> None:
    """Raise ModelError where weights, gradients and optimizer alone are more than the device has."""
    from dpo_core.scoring.row_size import device_bytes

    size = model_size(config.model)
    width = 4 if config.model.adapter is None or config.model.dtype == FLOAT32 else 2
    needed = size.total * width + size.trained * 3 * 4
    available = device_bytes(device)
    if needed > available:
        raise ModelError(
            f"model.path: {config.model.path}: weights, gradients and optimizer take "
            f"{needed / GIB:.1f} GiB, and the {'GPU' if device == 'cuda' else 'machine'} has "
            f"{available / GIB:.1f} GiB; use a LoRA adapter, model.dtype: bfloat16, or a larger one"
        )


def rank_range(config: SweepConfig) -> tuple[int | None, int | None]:
    """Return the lowest and the highest LoRA rank that the space may draw.

    Both are None where the adapter's own rank holds.
    """
    ranks: list[float] = []
    for branch in config.search_space.axes.get("lora_rank", ()):
        axis = branch.axis
        values = axis.values if isinstance(axis, Choice) else (axis.low, axis.high)
        ranks += [value for value in values if isinstance(value, int | float)]
    return (int(min(ranks)), int(max(ranks))) if ranks else (None, None)


def model_check_lines(check: ModelCheckJson | None) -> Sequence[str]:
    """Say what was checked, in how many seconds, and which tensors of the checkpoint are left out."""
    if not check:
        return []
    parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in check["seconds"].items())
    peak = check.get("peak_memory_bytes")
    memory = f" and {peak / GIB:.2g} GiB of memory" if peak else ""
    lines = [
        f"model checked in {sum(check['seconds'].values()):.1f} s{memory} on the longest pair "
        f"({check['longest_pair_tokens']} tokens): {parts}"
    ]
    if check.get("too_large"):
        lines.append(str(check["too_large"]))
    for part, about in check["left_out"].items():
        names = ", ".join(about["first"])
        more = " …" if about["tensors"] > len(about["first"]) else ""
        lines.append(
            f"left out of the model, since training does not use them: {about['tensors']} tensors of "
            f"{part} ({names}{more})"
        )
    return lines


def _largest_id(table: TokenTable) -> int:
    return max(pc.max(pc.list_flatten(table.table[part])).as_py() or 0 for part in PARTS)


_LONGEST = 64  # pairs of each split
_FETCH = "fetch or save the model again, or give another one"
