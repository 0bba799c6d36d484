"""The table of families: one model goes through all parts, and what fails in a part is a line of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import models as module
from tests.bench.models import Family, measure_family, rows, table, why_left_out


def test_a_family_that_shares_is_sound(tmp_path: Path) -> None:
    family = measure_family("llama", tmp_path)
    assert (family.layout, family.parts) == ("packed", {"LoRA": "ok", "full": "ok"})
    assert family.sound
    assert family.float32_nats < 1e-5
    assert 0 < family.bfloat16_nats < 0.1
    assert family.coverage > 0.9
    assert 20 < family.kept < 80  # the formula has 34


def test_a_model_that_is_refused_is_sound_too(tmp_path: Path) -> None:
    family = measure_family("bert", tmp_path)
    assert family.refused
    assert family.sound
    assert family.parts["model"].startswith("refused: ")


def test_what_a_part_raises_is_a_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise RecursionError("nested\nwrappers")

    monkeypatch.setattr(module, "_trained_twice", fail)
    family = measure_family("llama", tmp_path)
    assert family.parts["full"] == "DEFECT: RecursionError: nested wrappers"
    assert not family.sound


def test_silent_differences_are_counted() -> None:
    silent = Family("a", layout="packed", float32_nats=2e-4, parts={"LoRA": "ok", "full": "ok"})
    plain = Family("b", layout="plain", float32_nats=1e-6, parts={"LoRA": "ok", "full": "ok"})
    reached = {row.what: (row.ours, row.reached) for row in rows([silent, plain])}
    assert reached["silent differences above 1e-4 nats in float32"] == (1, False)
    assert reached["families with a defect"] == (1, False)
    assert reached["families that share prompts"] == (1, None)
    drawn = table([silent, plain], {"gemma3": "too large"})
    assert drawn.row_count == 2
    assert "1 model types left out" in str(drawn.caption)


def test_a_type_without_a_tiny_model_is_left_out() -> None:
    assert why_left_out("llama") == ""
    assert why_left_out("bart") == "encoder and decoder"
    assert "parameters" in why_left_out("git")
