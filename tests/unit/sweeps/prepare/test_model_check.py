"""The check of the base model: what it cannot do is one line before any trial."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertLMHeadModel, GPT2Config, GPT2LMHeadModel

from dpo_core.encoding.token_table import TokenTable
from dpo_core.errors import ModelError
from dpo_core.models.load import load_tokenizer
from dpo_core.models.reusable import changed_tensors
from dpo_core.scoring.scorer import Scorer
from sweeps.config.load import parse_sweep
from sweeps.prepare.model_check import ModelCheck, model_check_lines, rank_range
from sweeps.run_dir.json_types import ModelCheckJson
from tests.support.in_process import command
from tests.support.sweeps_without_ray import sweep_yaml
from tests.support.toys import VOCABULARY, toy_encoded, toy_tokenizer, write_toy_pairs

TOKENS = {split: TokenTable.of(toy_encoded(6, seed)) for seed, split in enumerate("ab")}
TOKENS = {"train": TOKENS["a"], "select": TOKENS["b"], "final": TOKENS["b"]}


@pytest.fixture
def folder(toy_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_model, tmp_path / "model"))


def check(folder: Path, *overrides: str) -> tuple[ModelCheckJson, Scorer]:
    config = parse_sweep(
        f"name: toy\nmodel: {{path: {folder}}}\nspace: lora\ndata: {{path: pairs.jsonl}}\n"
        "training: {max_steps: 4}\n",
        source="sweep.yaml",
        overrides=overrides,
    )
    scorer = Scorer(config.model)
    checked = ModelCheck(config, load_tokenizer(config.model), scorer)
    checked.read()
    checked.compare(TOKENS)
    return checked.try_out(TOKENS, checkpointing=False, scratch=folder.parent), scorer


@pytest.mark.parametrize(
    "overrides", [[], ["model.adapter=null", "space={learning_rate: 1.0e-6, beta: 0.1}"]]
)
def test_a_model_that_can_be_tuned_is_as_loaded_afterwards(
    folder: Path, overrides: list[str]
) -> None:
    checked, scorer = check(folder, *overrides)
    assert changed_tensors(scorer.model, scorer.settings) == {}
    tried = {"reading the weights", "two training steps", "saving", "loading what was saved"}
    assert tried <= checked["seconds"].keys()
    assert ("one merge" in checked["seconds"]) == (not overrides)
    [line] = model_check_lines(checked)
    assert line.startswith("model checked in ")
    assert " GiB of memory on the longest pair " in line
    assert f"({max(t.sequence_lengths.max() for t in TOKENS.values())} tokens)" in line


def test_a_rank_that_does_not_fit_fails_its_own_trials_and_not_the_sweep(folder: Path) -> None:
    ranks = "space={learning_rate: 1.0e-6, beta: 0.1, lora_rank: {choice: [4, 1000000000]}}"
    checked, scorer = check(folder, ranks)
    assert changed_tensors(scorer.model, scorer.settings) == {}
    _, line = model_check_lines(checked)
    assert line.startswith("trials with lora_rank 1000000000 will fail: model.path: ")
    with pytest.raises(ModelError, match=r"use a LoRA adapter, model\.dtype: bfloat16"):
        check(folder, ranks.replace("[4, 1000000000]", "[1000000000]"))


def test_what_is_left_out_of_a_checkpoint_is_said(folder: Path) -> None:
    file = folder / "model.safetensors"
    also = {f"visual.{i}.weight": torch.zeros(1) for i in range(5)}
    save_file(load_file(file) | also, file, {"format": "pt"})
    line = model_check_lines(check(folder)[0])[1]
    assert line.endswith(
        "5 tensors of a vision or audio part (visual.0.weight, visual.1.weight, visual.2.weight …)"
    )


def not_a_number(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] = torch.nan
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def generation(**settings: Any) -> Callable[[Path], None]:
    return lambda folder: write(folder / "generation_config.json", settings)


def write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content))


def numbers_too_large(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"] *= 1e6
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def a_wrong_number(folder: Path) -> None:
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace("1e-06", "NaN"))


def few_positions(folder: Path) -> None:
    save(GPT2LMHeadModel(GPT2Config(**SIZES, n_positions=16, eos_token_id=2)), folder)


def few_tokens(folder: Path) -> None:
    save(GPT2LMHeadModel(GPT2Config(**{**SIZES, "vocab_size": 300}, eos_token_id=2)), folder)


def an_encoder(folder: Path) -> None:
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
    config = BertConfig(**shape, num_attention_heads=2, vocab_size=VOCABULARY)
    save(BertLMHeadModel(config), folder)


def save(model: Any, folder: Path) -> None:
    shutil.rmtree(folder)
    model.save_pretrained(folder)
    toy_tokenizer().save_pretrained(folder)


SIZES = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 2}
TARGETS = "model.adapter={targets: [nowhere_proj]}"


@pytest.mark.parametrize(
    ("damage", "overrides", "message"),
    [
        (not_a_number, [], "model.layers.1.mlp.up_proj.weight holds NaN or infinite numbers"),
        (
            numbers_too_large,
            ["model.dtype=float16"],
            "holds NaN or infinite numbers in float16, so .*; set model.dtype: bfloat16, or",
        ),
        (a_wrong_number, [], "its logits are NaN, though its weights are numbers, so config.json"),
        (
            few_positions,
            [],
            r"has 16 positions, and the longest pair needs \d+; set data.max_tokens to",
        ),
        (few_tokens, [], r"the data uses number 3\d\d, but the model has embeddings for 300"),
        (an_encoder, [], "depend on tokens that come later, so it is an encoder"),
        (
            generation(do_sample=True, top_k=-1),
            [],
            "generation_config.json cannot be used .*`top_k` has to be .* mend it, or delete it",
        ),
        (
            generation(num_beams="x"),
            [],
            "generation_config.json cannot be used .TypeError: .*; mend it",
        ),
        (generation(max_new_tokens=-3), [], "cannot be loaded .*`max_new_tokens` must be greater"),
    ],
)
def test_what_a_model_cannot_do_is_one_line_with_the_way_out(
    folder: Path, damage: Callable[[Path], None], overrides: list[str], message: str
) -> None:
    damage(folder)
    with pytest.raises(ModelError, match=message) as error:
        check(folder, *overrides)
    assert str(error.value).startswith(f"model.path: {folder}")
    assert "\n" not in str(error.value)


def test_targets_that_no_model_has_are_refused_with_those_that_it_has(folder: Path) -> None:
    with pytest.raises(
        ModelError, match=r"'nowhere_proj' .* all-linear stands for mlp.down_proj, "
    ):
        check(folder, TARGETS)


def test_a_model_larger_than_its_device_is_refused_before_it_is_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpo_core.scoring.row_size.device_bytes", lambda device: 2**16)
    with pytest.raises(
        ModelError, match=r"take 0\.0 GiB, and the machine has 0\.0 GiB; use a LoRA"
    ):
        check(folder)


@pytest.mark.parametrize(
    ("space", "ranks"),
    [
        ("lora", (None, None)),
        ("{learning_rate: 1.0e-5, beta: 0.1, lora_rank: {choice: [8, 64, 4]}}", (4, 64)),
    ],
)
def test_the_ranks_that_a_space_may_draw(space: str, ranks: tuple[int | None, int | None]) -> None:
    config = parse_sweep(
        f"name: toy\nmodel: {{path: x}}\nspace: {space}\ndata: {{path: y}}\n"
        "training: {max_steps: 4}\n",
        source="sweep.yaml",
    )
    assert rank_range(config) == ranks


def another_number_of_layers(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    write(folder / "config.json", {**config, "num_hidden_layers": 3})


def no_end_token(folder: Path) -> None:
    config = json.loads((folder / "tokenizer_config.json").read_text())
    write(folder / "tokenizer_config.json", {**config, "eos_token": None})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            another_number_of_layers,
            "first model.layers.2.input_layernorm.weight, which would start at random",
        ),
        (few_positions, "has 16 positions, and the longest pair needs "),
        (few_tokens, "the data uses number 3"),
        (no_end_token, "its tokenizer has no end token"),
        (generation(do_sample=True, temperature=0.0), "generation_config.json cannot be used"),
    ],
)
def test_what_needs_no_weights_ends_a_sweep_before_ray(
    folder: Path,
    damage: Callable[[Path], None],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    damage(folder)
    file = tmp_path / "sweep.yaml"
    pairs = write_toy_pairs(tmp_path / "pairs.jsonl")
    file.write_text(sweep_yaml(tmp_path / "runs", folder, pairs))
    monkeypatch.setattr("sweeps.sweep.connected", lambda: pytest.fail("Ray was started"))
    ran, planned = command("run", str(file)), command("plan", str(file))
    for process in (ran, planned):
        assert process.returncode == 2
        [line] = process.stderr.splitlines()[-1:]
        assert message in line


def test_a_sweep_of_an_earlier_version_has_no_check() -> None:
    assert model_check_lines(None) == []
