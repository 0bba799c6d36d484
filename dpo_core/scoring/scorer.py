"""Scores pairs under a model that is loaded when, and only when, something must be scored."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch

from dpo_core.encoding.token_table import EncodedPair
from dpo_core.models.load import autocast, load_model
from dpo_core.scoring.logprobs import score_pairs
from dpo_core.scoring.prompt_sharing import why_not_shared
from dpo_core.scoring.reference_cache import Columns
from dpo_core.settings import DEFAULT_ROW_TOKENS, ModelSettings


def best_device() -> str:
    """The GPU that Ray gave this process, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


class Scorer:
    """`scorer(pairs)` gives the columns of a reference entry for them."""

    def __init__(
        self, settings: ModelSettings, row_tokens: int = DEFAULT_ROW_TOKENS, shared: bool = True
    ) -> None:
        self.settings, self.row_tokens, self.shared = settings, row_tokens, shared
        self.device = best_device()

    @cached_property
    def model(self) -> Any:
        return load_model(self.settings, self.device)

    def __call__(self, pairs: Sequence[EncodedPair]) -> Columns:
        model = self.model
        with autocast(self.settings, self.device):
            return score_pairs(model, pairs, self.row_tokens, self.shared).numpy()

    def why_not_shared(self, pairs: Sequence[EncodedPair]) -> str | None:
        """Whether prompts can be shared, in the precision of the settings; see `sharing`."""
        model = self.model
        with autocast(self.settings, self.device):
            return why_not_shared(model, pairs)
