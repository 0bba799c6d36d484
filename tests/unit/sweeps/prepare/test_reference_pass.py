"""Activation checkpointing is used when memory is short. The pass itself is tested in
tests/integration/test_pipeline.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_core.encoding.token_table import TokenTable
from dpo_core.scoring import row_size
from sweeps.config.load import parse_sweep
from sweeps.prepare.reference_pass import needs_checkpointing
from tests.support.toys import toy_encoded

SWEEP = """
name: fit
model: {{path: {model}}}
data: {{path: pairs.jsonl}}
space: lora
training: {{max_steps: 1, {training}}}
"""


@pytest.mark.parametrize(
    ("training", "memory", "expected"),
    [
        ("row_tokens: 64", 2**40, False),
        ("row_tokens: 64", 2**20, True),  # a megabyte holds not even the weights
        ("gradient_checkpointing: false", 2**20, False),
        ("gradient_checkpointing: true", 2**40, True),
    ],
)
def test_checkpointing_comes_when_memory_is_short(
    training: str, memory: int, expected: bool, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_size, "device_bytes", lambda _: memory)
    config = parse_sweep(SWEEP.format(model=toy_model, training=training), source="test")
    tokens = {"train": TokenTable.of(toy_encoded(3))}
    assert needs_checkpointing(config, tokens, "cpu") is expected
