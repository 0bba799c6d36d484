"""The winner as a directory that others load, and the copy a user asks for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dpo_core.errors import UserError
from dpo_core.evaluation.outcomes import read_outcomes
from dpo_core.models.load import load_model, load_tokenizer
from dpo_core.storage.store import Store
from sweeps.config.load import parse_sweep
from sweeps.finalize.export import (
    copy_best,
    copy_processor,
    export_and_score,
    export_note,
    exported,
    final_outcomes,
    is_exported,
)
from sweeps.run_dir.exported import ADAPTER, ExportedModel
from sweeps.run_dir.paths import SweepPaths
from tests.support.exported_models import write_best
from tests.support.selections import a_selection

# The copy


@pytest.fixture
def ended(tmp_path: Path) -> SweepPaths:
    paths = SweepPaths(Store.open(tmp_path / "runs"), "hh-1")
    write_best(paths, "t0001", 8)
    return paths


def files_of(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("exists", [False, True])
def test_best_is_copied_to_a_new_or_empty_folder(ended, tmp_path: Path, exists: bool) -> None:
    target = tmp_path / "deep" / "model"
    if exists:
        target.mkdir(parents=True)
    copy_best(ended, target, a_selection())
    copied = [
        "adapter/adapter_model.safetensors",
        "config.json",
        "dpo-sweeps.json",
        "model.safetensors",
    ]
    assert files_of(target) == files_of(tmp_path / "runs/hh-1/best") == copied
    assert (target / "model.safetensors").read_text() == "weights of t0001 at step 8"
    ExportedModel.at(str(target)).check()


@pytest.mark.parametrize("content", [b"weights of t0001", b"weights of t0001 at step 9", None])
@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "adapter/adapter_model.safetensors"]
)
def test_a_damaged_model_is_not_copied(
    ended, tmp_path: Path, name: str, content: bytes | None
) -> None:
    """Truncated, changed, or deleted."""
    ended.store.delete(f"{ended.best}/{name}")
    if content is not None:
        ended.store.write(f"{ended.best}/{name}", content)
    with pytest.raises(UserError, match="missing or damaged; `dpo-sweeps resume"):
        copy_best(ended, tmp_path / "model", a_selection())
    assert not (tmp_path / "model").exists()


def test_copied_files_get_the_usual_modes(ended, tmp_path: Path) -> None:
    best = tmp_path / "runs/hh-1/best"
    (best / "model.safetensors").chmod(0o600)  # as exports of earlier versions left it
    copy_best(ended, tmp_path / "model", a_selection())
    usual = tmp_path / "usual"
    usual.touch()
    assert (tmp_path / "model/model.safetensors").stat().st_mode == usual.stat().st_mode


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
    with pytest.raises(UserError, match=r"has no best/ yet, .*`dpo-sweeps resume` finishes"):
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
    export_and_score(paths.ref, "t0000", 4, "auto")

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
    left = {p.name for p in (tmp_path / "runs").iterdir()} - {"toy-1", ".cache"}
    assert left == set()
    assert {p.stat().st_mode & 0o777 for p in best.rglob("*.safetensors")} == {0o644}
    assert set(ExportedModel.of(paths).manifest["files"]) == {*names} - {"dpo-sweeps.json"}
    assert is_exported(paths, ("t0000", 4), "auto")


@pytest.mark.parametrize("adapter", ["{rank: 4}", "null"])
def test_what_is_exported_is_what_was_trained(prepared, tmp_path: Path, adapter: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    paths = prepared(adapter, str(tmp_path / "runs"), change=0.05)
    export_and_score(paths.ref, "t0000", 4, "auto")
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


def test_an_export_names_no_folder_of_the_machine(prepared, tmp_path: Path) -> None:
    paths = prepared("{rank: 4}", str(tmp_path / "runs"))
    export_and_score(paths.ref, "t0000", 4, "auto")
    best = tmp_path / "runs/toy-1/best"
    folder = Path(parse_sweep(paths.store.read(paths.config).decode(), source="c").model.path)
    config = json.loads((best / ADAPTER / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == folder.name
    texts = {name: (best / name).read_bytes() for name in files_of(best)}
    assert [name for name, text in texts.items() if str(folder).encode() in text] == []


def test_files_of_a_processor_are_exported_and_those_of_the_tokenizer_stay(tmp_path: Path) -> None:
    base, best = tmp_path / "base", tmp_path / "best"
    for folder in (base, best):
        folder.mkdir()
    (base / "preprocessor_config.json").write_text('{"size": 224}')
    (base / "chat_template.json").write_text("of the base")
    (best / "chat_template.json").write_text("of the tokenizer")
    copy_processor(base, best)
    assert files_of(best) == ["chat_template.json", "preprocessor_config.json"]
    assert (best / "chat_template.json").read_text() == "of the tokenizer"


# What is stored of the winner's margins

HALF = "model.dtype=bfloat16"


def test_a_base_in_half_precision_is_exported_in_float32_where_it_would_lose_margins(
    prepared, tmp_path: Path
) -> None:
    paths = prepared("{rank: 4}", str(tmp_path / "runs"), change=0.0015, base_dtype="bfloat16")
    manifest = export_and_score(paths.ref, "t0000", 4, "auto")
    assert manifest["rejected"]["dtype"] == "bfloat16"
    assert manifest["rejected"]["lost"] > 0.1
    assert manifest["margins"]["dtype"] == "float32"
    assert manifest["margins"]["lost"] < 1e-3
    sentence, is_warning = export_note(manifest, "runs/toy-1")
    assert not is_warning
    assert re.match(r"best/ is stored in float32: in the model's own bfloat16, \d+ % of", sentence)
    best = tmp_path / "runs/toy-1/best"
    assert {t.dtype for t in load_file(best / "model.safetensors").values()} == {torch.float32}
    assert json.loads((best / "config.json").read_text())["dtype"] == "float32"


def test_a_dtype_that_keeps_the_margins_is_the_models_own(prepared, tmp_path: Path) -> None:
    paths = prepared("{rank: 4}", str(tmp_path / "runs"), change=0.05)
    manifest = export_and_score(paths.ref, "t0000", 4, "auto")
    assert (manifest["margins"]["dtype"], manifest["rejected"]) == ("float32", None)
    assert manifest["margins"]["lost"] < 1e-3
    assert manifest["margins"]["chosen"] == pytest.approx(manifest["margins"]["stored"], rel=1e-3)
    assert export_note(manifest, "runs/toy-1") is None


def test_a_dtype_that_the_user_fixed_is_kept_and_its_loss_is_said(prepared, tmp_path: Path) -> None:
    paths = prepared("{rank: 4}", str(tmp_path / "runs"), change=0.003)
    manifest = export_and_score(paths.ref, "t0000", 4, "bfloat16")
    stored = load_file(tmp_path / "runs/toy-1/best/model.safetensors")
    assert {t.dtype for t in stored.values()} == {torch.bfloat16}
    sentence, is_warning = export_note(manifest, "runs/toy-1")
    assert is_warning
    assert re.search(
        r"best/ in bfloat16, \d+ % of the winner's margins on select are lost .*; `dpo-sweeps select "
        r"runs/toy-1 --set export.dtype=float32 --write` keeps them",
        sentence,
    )


def test_the_adapter_alone(prepared, tmp_path: Path) -> None:
    paths = prepared("{rank: 4}", str(tmp_path / "runs"), change=0.05)
    manifest = export_and_score(paths.ref, "t0000", 4, None)
    best = tmp_path / "runs/toy-1/best"
    names = set(files_of(best))
    assert {"adapter/adapter_model.safetensors", "tokenizer.json", "dpo-sweeps.json"} <= names
    assert not {"config.json", "model.safetensors"} & names
    assert manifest["margins"]["dtype"] is None
    assert final_outcomes(paths, "t0000", 4).count("reward_accuracy").ties == 0
    assert exported(paths) == ("t0000", 4)
    copy_best(paths, tmp_path / "copy", a_selection())
    assert set(files_of(tmp_path / "copy")) == names


def test_whole_models_take_another_dtype_too(prepared, tmp_path: Path) -> None:
    paths = prepared("null", str(tmp_path / "runs"), change=0.001)
    lossy = export_and_score(paths.ref, "t0000", 4, "bfloat16")
    assert lossy["margins"]["lost"] > 0.02
    whole = export_and_score(paths.ref, "t0000", 4, "float32")
    assert whole["margins"]["lost"] < 1e-3
    assert not any(name.startswith(ADAPTER) for name in whole["files"])


def test_a_margin_that_half_precision_scored_is_scored_again_in_float32(
    prepared, tmp_path: Path
) -> None:
    paths = prepared(
        "{rank: 4}",
        str(tmp_path / "runs"),
        change=0.003,
        settings=[HALF, "selection.score_dtype=model"],
    )
    manifest = export_and_score(paths.ref, "t0000", 4, "float32")
    assert manifest["margins"]["lost"] < 1e-3
    final = final_outcomes(paths, "t0000", 4)
    select, _ = read_outcomes(paths.store.read(paths.outcome("t0000", 4)))
    # Of the same precision as select's, which differ from one another by chance alone.
    assert (
        abs(final.margins("reward_accuracy")).mean()
        < 4 * abs(select.margins("reward_accuracy")).mean()
    )


def test_final_that_was_scored_stays_as_it_was(prepared, tmp_path: Path) -> None:
    paths = prepared("{rank: 4}", str(tmp_path / "runs"), change=0.003)
    export_and_score(paths.ref, "t0000", 4, "float32")
    before = paths.store.read(paths.final_outcome("t0000", 4))
    export_and_score(paths.ref, "t0000", 4, "bfloat16")
    assert paths.store.read(paths.final_outcome("t0000", 4)) == before


def test_a_damaged_checkpoint_is_not_exported(prepared, tmp_path: Path) -> None:
    paths = prepared("{rank: 4}", str(tmp_path / "runs"))
    name = f"{paths.checkpoint('t0000', 4)}/adapter_model.safetensors"
    paths.store.write(name, paths.store.read(name)[:-1] + b"x")
    with pytest.raises(UserError, match=r"checkpoint of t0000 at step 4: .* is missing or damaged"):
        export_and_score(paths.ref, "t0000", 4, "auto")
    assert not paths.store.exists(paths.best)
    assert final_outcomes(paths, "t0000", 4) is None


def test_selection_json_can_be_read_as_json(tmp_path: Path) -> None:
    assert json.loads(json.dumps(a_selection(), allow_nan=False)) == a_selection()
