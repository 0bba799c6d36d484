"""A scorer of pairs that loads its model only when something must be scored."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from dpo_core.encoding.token_table import EncodedPair
from dpo_core.models.load import autocast, load_model
from dpo_core.scoring.logprobs import score_pairs
from dpo_core.scoring.precision import scoring_precision
from dpo_core.scoring.prompt_sharing import why_not_shared
from dpo_core.scoring.reference_cache import Columns
from dpo_core.settings import DEFAULT_ROW_TOKENS, ModelSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def best_device() -> str:
    """Return the device that this process computes on: its GPU if it sees one, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


class Scorer:
    """A model that is called with pairs and returns the columns of a reference entry for them."""

    def __init__(
        self, settings: ModelSettings, row_tokens: int = DEFAULT_ROW_TOKENS, shared: bool = True
    ) -> None:
        self.settings, self.row_tokens, self.shared = settings, row_tokens, shared
        self.device = best_device()

    @cached_property
    def model(self) -> PreTrainedModel:
        """Load the model at the first use."""
        return load_model(self.settings, self.device)

    def __call__(self, pairs: Sequence[EncodedPair], dtype: str = "") -> Columns:
        """Score `pairs` in `dtype`: "float32", or that of the settings, which is the default."""
        model = self.model
        with scoring_precision(model, self.settings, dtype):
            return score_pairs(model, pairs, self.row_tokens, self.shared).numpy()

    def why_not_shared(self, pairs: Sequence[EncodedPair]) -> str | None:
        """Return why prompts cannot be shared in the precision of the settings, or None."""
        model = self.model
        with autocast(self.settings, self.device):
            return why_not_shared(model, pairs)
