"""A scorer of pairs that loads its model only when something must be scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from dpo_core.encoding.token_table import EncodedPair
from dpo_core.models.load import autocast, load_model
from dpo_core.scoring.logprobs import score_pairs
from dpo_core.scoring.precision import scoring_precision
from dpo_core.scoring.prompt_sharing import (
    LayoutChoice,
    choose_layout,
    fault_in_half_precision,
    measure_memory,
)
from dpo_core.scoring.reference_cache import Columns
from dpo_core.scoring.row_layout import RowLayout
from dpo_core.settings import DEFAULT_ROW_TOKENS, FLOAT32, ModelSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def best_device() -> str:
    """Return the device that this process computes on: its GPU if it sees one, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


class Scorer:
    """A model that is called with pairs and returns the columns of a reference entry for them."""

    def __init__(
        self,
        settings: ModelSettings,
        row_tokens: int = DEFAULT_ROW_TOKENS,
        layout: RowLayout = RowLayout.PACKED,
    ) -> None:
        self.settings, self.row_tokens, self.layout = settings, row_tokens, layout
        self.kept_bytes_per_token = 0.0  # see `LayoutChoice`
        self.device = best_device()

    @cached_property
    def model(self) -> PreTrainedModel:
        """Load the model at the first use."""
        return load_model(self.settings, self.device)

    def __call__(self, pairs: Sequence[EncodedPair], dtype: str = "") -> Columns:
        """Score `pairs` in `dtype`: "float32", or that of the settings, which is the default."""
        model = self.model
        with scoring_precision(model, self.settings, dtype):
            return score_pairs(model, pairs, self.row_tokens, self.layout).numpy()

    def choose_layout(self, pairs: Sequence[EncodedPair], row_tokens: int) -> LayoutChoice:
        """Measure how rows of `pairs` may be laid out, and what training keeps; see `prompt_sharing`."""
        model = self.model
        with scoring_precision(model, self.settings, FLOAT32):
            choice = choose_layout(model, pairs, row_tokens, self._allowed_layouts())
        with autocast(self.settings, self.device):
            if choice.layout.shares_prompts and self.settings.dtype != FLOAT32:
                fault = fault_in_half_precision(model, pairs, choice.layout)
                choice = LayoutChoice(RowLayout.PLAIN, fault) if fault else choice
            kept = measure_memory(model, pairs, row_tokens, choice.layout)
        return replace(choice, kept_bytes_per_token=kept)

    def _allowed_layouts(self) -> list[RowLayout]:
        """Return the layouts that the settings allow: attention that is named covers whole rows."""
        whole_rows = self.settings.attention != "auto"
        return [each for each in RowLayout if not (whole_rows and each is RowLayout.PACKED)]
