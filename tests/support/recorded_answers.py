"""Recorded answers of a trial that collapsed, to all 45 held-out prompts of the pharmacy pairs.

SmolLM2-135M with LoRA of rank 16, learning rate 5e-4, β 0.1, 40 steps of 4 pairs; greedy answers of
at most 128 tokens from the untouched model and from the checkpoints of steps 10, 20 and 30.
"""

from __future__ import annotations

import json
import lzma
from typing import Any

from sweeps.run_dir.json_types import AnswerJson
from tests.support.repository import ROOT

REFERENCE = "reference"


def recorded() -> dict[str, Any]:
    """Return `groups` and `splits` of the prompts, and answers `by` checkpoint."""
    content = (ROOT / "tests" / "data" / "recorded_answers.json.xz").read_bytes()
    rows: dict[str, Any] = json.loads(lzma.decompress(content))
    return rows


def answers_at(step: int | None, split: str | None = None) -> list[AnswerJson]:
    """Return the answers at a step, or of the untouched model, to the prompts of one or all splits."""
    rows = recorded()
    name = REFERENCE if step is None else f"t0000-step-{step:06d}"
    both = zip(rows["splits"], rows["by"][name], strict=True)
    return [answer for of, answer in both if split in (None, of)]


def groups_of_prompts(split: str | None = None) -> list[str]:
    """Return the group of each prompt, of one or all splits."""
    rows = recorded()
    both = zip(rows["splits"], rows["groups"], strict=True)
    return [group for of, group in both if split in (None, of)]
