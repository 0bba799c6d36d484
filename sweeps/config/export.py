"""Settings of the export: how the winner's weights are stored.

Tested in tests/unit/sweeps/config/test_load.py.
"""

from __future__ import annotations

from typing import Literal

from dpo_core.settings import Settings


class ExportSettings(Settings):
    """Settings of `best/`."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = "auto"
    """The dtype of the whole model's weights. `auto`: that of the base model where it keeps the
    winner's margins, else float32. null: the adapter alone, without a whole model."""
