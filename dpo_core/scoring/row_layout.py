"""The ways in which a model can be run over the pairs of a row, fastest first.

Which of them are exact for a model is measured: see `prompt_sharing`.
"""

from __future__ import annotations

from enum import StrEnum


class RowLayout(StrEnum):
    """A way in which the pairs of a row go through the model."""

    PACKED = "packed"
    """Prompts once for both answers, and attention pair by pair (`ops.packed_attention`). A model
    without SDPA gets the mask of MASKED instead."""
    MASKED = "masked"
    """Prompts once for both answers, under a mask of four dimensions over the whole row."""
    PLAIN = "plain"
    """A pass of its own for each answer, after its prompt."""

    @property
    def shares_prompts(self) -> bool:
        """Return whether a prompt is computed once for both answers."""
        return self is not RowLayout.PLAIN
