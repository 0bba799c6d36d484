"""Merged models compute what the adapter over its base computes, whatever kind of adapter it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from dpo_core.models import load, merge, weight_files
from dpo_core.models.load import load_model
from dpo_core.models.lora_targets import lora_config
from dpo_core.models.merge import write_converted, write_merged
from dpo_core.settings import LoraSettings, ModelSettings
from tests.support.toys import VOCABULARY, toy_llama

IDS = torch.arange(3, 60)[None]


def save_base(folder: Path, dtype: torch.dtype = torch.float32, **changes: Any) -> Path:
    toy_llama(**changes).to(dtype).save_pretrained(folder)
    return folder


def settings_of(base: Path, dtype: str = "float32", **lora: Any) -> ModelSettings:
    return ModelSettings(path=str(base), dtype=dtype, adapter=LoraSettings(rank=4, **lora))


def save_adapter(
    settings: ModelSettings, folder: Path, config: peft.LoraConfig | None = None, size: float = 0.05
) -> Path:
    """Save an adapter whose matrices are both random."""
    base = load_model(settings)
    model = peft.get_peft_model(base, config or lora_config(settings.adapter, None, base))
    generator = torch.manual_seed(1)
    with torch.no_grad():
        for weight in (p for p in model.parameters() if p.requires_grad):
            weight += size * torch.randn(weight.shape, generator=generator)
    model.save_pretrained(folder)
    save_file({"0.exp_avg": torch.zeros(2)}, folder / "optimizer.safetensors")  # as in checkpoints
    return folder


def trained_logits(settings: ModelSettings, adapter: Path) -> Tensor:
    """What the base computes under the adapter, in float32."""
    base = load_model(settings).float()
    with torch.no_grad():
        return peft.PeftModel.from_pretrained(base, adapter)(IDS).logits


def logits_of(folder: Path) -> Tensor:
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(IDS).logits


def assert_same(left: Tensor, right: Tensor) -> None:
    torch.testing.assert_close(left, right, atol=2e-5, rtol=1e-5)


LORAS = {
    "all linear layers": {},
    "rank-stabilized": {"use_rslora": True},
    "a rank and an alpha of its own": {
        "rank_pattern": {"q_proj": 2},
        "alpha_pattern": {"v_proj": 7.0},
    },
    "some layers": {"target_modules": ["q_proj", "down_proj"]},
    "the tied embedding": {"target_modules": ["embed_tokens", "q_proj"]},
}
BY_PEFT = {
    "weights split into size and direction": {"use_dora": True},
    "a module trained whole": {"modules_to_save": ["norm"]},
    "a parameter": {
        "target_modules": ["q_proj"],
        "target_parameters": ["mlp.down_proj.weight"],
    },
}


def peft_config(changes: dict[str, Any]) -> peft.LoraConfig:
    fields = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    return peft.LoraConfig(**{**fields, **changes})


@pytest.mark.parametrize("kind", [*LORAS, *BY_PEFT])
@pytest.mark.filterwarnings("ignore")
def test_a_merged_model_computes_what_was_trained(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = save_base(tmp_path / "base")
    settings = settings_of(base)
    config = peft_config(LORAS.get(kind) or BY_PEFT.get(kind) or {})
    adapter = save_adapter(settings, tmp_path / "adapter", config)
    expected = trained_logits(settings, adapter)
    if kind in LORAS:
        monkeypatch.setattr(merge, "load_model", None)  # tensor by tensor, without a model
    write_merged(settings, adapter, tmp_path / "merged", torch.float32)
    assert_same(logits_of(tmp_path / "merged"), expected)
    assert (expected - logits_of(base)).abs().max() > 0.05


def test_an_adapted_embedding_leaves_the_head_that_was_tied_to_it(tmp_path: Path) -> None:
    """Training adapts the embedding alone: the head computes with the untouched weights."""
    settings = settings_of(save_base(tmp_path / "base"), targets=["embed_tokens"])
    adapter = save_adapter(settings, tmp_path / "adapter")
    write_merged(settings, adapter, tmp_path / "merged", torch.float32)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert merged.config.tie_word_embeddings is False
    assert torch.equal(merged.lm_head.weight, load_model(settings).lm_head.weight)
    assert not torch.equal(merged.lm_head.weight, merged.model.embed_tokens.weight)


def test_a_head_that_is_stored_beside_the_embeddings_that_it_should_share(tmp_path: Path) -> None:
    """Transformers loads both where they differ, though the config says that they are one."""
    base = save_base(tmp_path / "base")
    file = base / "model.safetensors"
    weights = load_file(file)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].flip(0).clone()
    save_file(weights, file, {"format": "pt"})
    settings = settings_of(base, targets=["embed_tokens", "q_proj"])
    adapter = save_adapter(settings, tmp_path / "adapter")
    write_merged(settings, adapter, tmp_path / "merged", torch.float32)
    assert_same(logits_of(tmp_path / "merged"), trained_logits(settings, adapter))
    assert not json.loads((tmp_path / "merged" / "config.json").read_text())["tie_word_embeddings"]


def test_weights_that_are_stored_transposed_and_without_their_models_name(tmp_path: Path) -> None:
    config = GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=2, n_positions=128)
    model = GPT2LMHeadModel(config)
    model.transformer.save_pretrained(tmp_path / "base")
    about = json.loads((tmp_path / "base" / "config.json").read_text())
    about["architectures"] = ["GPT2LMHeadModel"]
    (tmp_path / "base" / "config.json").write_text(json.dumps(about))
    settings = settings_of(tmp_path / "base", targets=["c_attn", "c_proj", "wte"])
    with pytest.warns(UserWarning, match="fan_in_fan_out"):
        adapter = save_adapter(settings, tmp_path / "adapter")
    write_merged(settings, adapter, tmp_path / "merged", torch.float32)
    assert_same(logits_of(tmp_path / "merged"), trained_logits(settings, adapter))


def test_a_small_product_survives_in_float32_and_not_in_bfloat16(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", torch.bfloat16)
    settings = settings_of(base, "bfloat16")
    adapter = save_adapter(settings, tmp_path / "adapter", size=1e-4)
    expected, changed = trained_logits(settings, adapter), {}
    for dtype in ("float32", "bfloat16"):
        write_merged(settings, adapter, tmp_path / dtype, getattr(torch, dtype))
        before = load_file(base / "model.safetensors")
        after = load_file(tmp_path / dtype / "model.safetensors")
        adapted = [name for name in before if "_proj" in name]
        assert all(after[name].dtype == getattr(torch, dtype) for name in after)
        changed[dtype] = torch.cat(
            [(after[n].float() != before[n].float()).flatten() for n in adapted]
        ).float()
    assert changed["float32"].mean() > 0.99
    assert changed["bfloat16"].mean() < 0.5
    assert_same(logits_of(tmp_path / "float32"), expected)


def test_weights_count_as_they_were_loaded(tmp_path: Path) -> None:
    """A base that is stored in float32 and trained in bfloat16 was rounded before training."""
    settings = settings_of(save_base(tmp_path / "base"), "bfloat16")
    adapter = save_adapter(settings, tmp_path / "adapter")
    write_merged(settings, adapter, tmp_path / "merged", None)
    stored = load_file(tmp_path / "merged" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}
    assert_same(logits_of(tmp_path / "merged"), trained_logits(settings, adapter))


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float16])
def test_the_stored_dtype_is_in_files_and_config(tmp_path: Path, dtype: torch.dtype | None) -> None:
    settings = settings_of(save_base(tmp_path / "base", torch.bfloat16))
    adapter = save_adapter(settings, tmp_path / "adapter")
    write_merged(settings, adapter, tmp_path / "merged", dtype)
    stored = load_file(tmp_path / "merged" / "model.safetensors")
    expected = dtype or torch.bfloat16
    assert {tensor.dtype for tensor in stored.values()} == {expected}
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto")
    assert merged.dtype == expected
    assert merged.config.use_cache


def test_a_tensor_that_the_index_does_not_name_is_merged_too(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    names = list(load_file(base / "model.safetensors"))
    (base / "model.safetensors").rename(base / "one.safetensors")
    weight_map = dict.fromkeys(names, "one.safetensors")
    del weight_map["model.embed_tokens.weight"]
    index = base / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    settings = settings_of(base)
    adapter = save_adapter(settings, tmp_path / "adapter")
    write_merged(settings, adapter, tmp_path / "merged", torch.float32)
    assert_same(logits_of(tmp_path / "merged"), trained_logits(settings, adapter))


def test_a_large_model_is_read_and_written_in_several_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_llama().save_pretrained(tmp_path / "base", max_shard_size="100KB")
    assert (tmp_path / "base" / "model.safetensors.index.json").is_file()
    settings = settings_of(tmp_path / "base")
    adapter = save_adapter(settings, tmp_path / "adapter")
    monkeypatch.setattr(weight_files, "_SHARD_BYTES", 60_000)
    write_merged(settings, adapter, tmp_path / "merged", torch.float32)
    assert len(list((tmp_path / "merged").glob("model-*.safetensors"))) > 3
    assert_same(logits_of(tmp_path / "merged"), trained_logits(settings, adapter))


@pytest.mark.parametrize("dtype", [None, torch.float32])
def test_a_model_that_was_trained_whole_is_converted(
    tmp_path: Path, dtype: torch.dtype | None
) -> None:
    base = save_base(tmp_path / "base", torch.bfloat16)
    trained = toy_llama(seed=5)
    trained.config.use_cache = False
    trained.save_pretrained(tmp_path / "trained")
    write_converted(tmp_path / "trained", base, tmp_path / "stored", dtype)
    stored = AutoModelForCausalLM.from_pretrained(tmp_path / "stored", dtype="auto")
    assert stored.dtype == (dtype or torch.bfloat16)
    assert stored.config.use_cache
    for name, weight in trained.to(stored.dtype).state_dict().items():
        assert torch.equal(stored.state_dict()[name], weight), name


def test_a_packaged_model_is_merged_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = save_base(tmp_path / "base")
    monkeypatch.setattr(load, "packaged_model", lambda _: base)
    settings = ModelSettings(path="package:toy", adapter=LoraSettings(rank=4))
    adapter = save_adapter(settings, tmp_path / "adapter")
    write_merged(settings, adapter, tmp_path / "merged", None)
    assert_same(logits_of(tmp_path / "merged"), trained_logits(settings, adapter))
