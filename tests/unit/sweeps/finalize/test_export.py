"""The winner as a directory that others load, and the copy a user asks for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dpo_core.errors import UserError
from dpo_core.models.load import load_model, load_tokenizer
from dpo_core.storage.store import Store
from sweeps.config.load import parse_sweep
from sweeps.finalize.export import ADAPTER, copy_best, export_and_score, final_outcomes
from sweeps.run_dir.paths import SweepPaths
from tests.support.selections import a_selection

# The copy


@pytest.fixture
def ended(tmp_path: Path) -> SweepPaths:
    paths = SweepPaths(Store.open(tmp_path / "runs"), "hh-1")
    for name in ("config.json", "model.safetensors", f"{ADAPTER}/adapter_config.json"):
        paths.store.write(f"{paths.best}/{name}", name.encode())
    return paths


def files_of(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("exists", [False, True])
def test_best_is_copied_to_a_new_or_empty_folder(ended, tmp_path: Path, exists: bool) -> None:
    target = tmp_path / "deep" / "model"
    if exists:
        target.mkdir(parents=True)
    copy_best(ended, target, a_selection())
    copied = ["adapter/adapter_config.json", "config.json", "model.safetensors"]
    assert files_of(target) == files_of(tmp_path / "runs/hh-1/best") == copied
    assert (target / "config.json").read_text() == "config.json"


def test_best_is_copied_from_a_remote_store(ended, tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "runs" / "hh-1"), "/export/hh-1", recursive=True)
    try:
        copy_best(SweepPaths.of_folder("memory://export/hh-1"), tmp_path / "model", a_selection())
    finally:
        memory.rm("/export", recursive=True)
    assert "model.safetensors" in files_of(tmp_path / "model")


def test_nothing_is_overwritten(ended, tmp_path: Path) -> None:
    folder, file = tmp_path / "full", tmp_path / "file"
    folder.mkdir()
    (folder / "precious.txt").write_text("mine")
    file.write_text("mine too")
    with pytest.raises(UserError, match="full: is not empty; give a new folder"):
        copy_best(ended, folder, a_selection())
    with pytest.raises(UserError, match="file: is a file; give a new folder"):
        copy_best(ended, file, a_selection())
    assert files_of(folder) == ["precious.txt"]
    assert file.read_text() == "mine too"


def test_a_sweep_that_has_not_ended_has_nothing_to_copy(tmp_path: Path) -> None:
    paths = SweepPaths(Store.open(tmp_path), "hh-1")
    paths.store.write(f"{paths.best}/model.safetensors", b"half")  # config.json comes last
    with pytest.raises(UserError, match=r"has no best/ yet; `dpo-sweeps resume` finishes"):
        copy_best(paths, tmp_path / "model", a_selection())
    assert not (tmp_path / "model").exists()


# The export


@pytest.mark.parametrize("adapter", ["{rank: 4}", "null"])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_an_untouched_policy_is_exported_whole_and_scores_one_half(
    prepared, tmp_path: Path, adapter: str, scheme: str
) -> None:
    from transformers import AutoModelForCausalLM

    paths = prepared(adapter, f"{scheme}{tmp_path}/runs")
    assert final_outcomes(paths, "t0000", 4) is None
    export_and_score(paths.ref, "t0000", 4)

    outcomes = final_outcomes(paths, "t0000", 4)
    count = outcomes.count("reward_accuracy")
    assert (count.correct, count.ties, count.accuracy) == (0, len(outcomes.ids), 0.5)

    best = tmp_path / "runs" / "toy-1" / "best"
    model = AutoModelForCausalLM.from_pretrained(best, use_safetensors=True)
    assert model.config.use_cache  # off while training; generation without it is slow
    names = files_of(best)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(names)
    assert not [n for n in names if "optimizer" in n or "trainer_state" in n or "scheduler" in n]
    assert (f"{ADAPTER}/adapter_model.safetensors" in names) == (adapter != "null")
    assert [
        p.name for p in (tmp_path / "runs").iterdir() if p.name not in ("toy-1", ".cache")
    ] == []


@pytest.mark.parametrize("adapter", ["{rank: 4}", "null"])
def test_what_is_exported_is_what_was_trained(prepared, tmp_path: Path, adapter: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    paths = prepared(adapter, str(tmp_path / "runs"), change=0.05)
    export_and_score(paths.ref, "t0000", 4)
    checkpoint = tmp_path / "runs/toy-1" / paths.checkpoint("t0000", 4)
    config = parse_sweep(paths.store.read(paths.config).decode(), source="config.yaml")
    if adapter == "null":
        trained = AutoModelForCausalLM.from_pretrained(checkpoint)
    else:
        trained = PeftModel.from_pretrained(load_model(config.model), checkpoint)
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "runs/toy-1/best")
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        torch.testing.assert_close(exported(ids).logits, trained(ids).logits, atol=1e-4, rtol=1e-4)
        untouched = load_model(config.model)(ids).logits
    assert (exported(ids).logits - untouched).abs().max() > 0.01
    assert final_outcomes(paths, "t0000", 4).count("reward_accuracy").ties == 0
    tokenizer = load_tokenizer(
        config.model.model_copy(update={"path": str(tmp_path / "runs/toy-1/best")})
    )
    assert tokenizer.chat_template == load_tokenizer(config.model).chat_template


def test_a_damaged_checkpoint_is_not_exported(prepared, tmp_path: Path) -> None:
    paths = prepared("{rank: 4}", str(tmp_path / "runs"))
    name = f"{paths.checkpoint('t0000', 4)}/adapter_model.safetensors"
    paths.store.write(name, paths.store.read(name)[:-1] + b"x")
    with pytest.raises(UserError, match=r"checkpoint of t0000 at step 4: .* is missing or damaged"):
        export_and_score(paths.ref, "t0000", 4)
    assert not paths.store.exists(paths.best)
    assert final_outcomes(paths, "t0000", 4) is None


def test_selection_json_can_be_read_as_json(tmp_path: Path) -> None:
    assert json.loads(json.dumps(a_selection(), allow_nan=False)) == a_selection()
