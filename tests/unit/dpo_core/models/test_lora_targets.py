"""An adapter reaches the experts, and leaves alone what it cannot train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
)

from dpo_core.errors import ModelError
from dpo_core.hyperparams import DPOHyperparams
from dpo_core.models.load import load_model, load_trained
from dpo_core.models.lora_coverage import adapt_and_count
from dpo_core.models.lora_targets import lora_config, lora_targets
from dpo_core.models.merge import write_merged
from dpo_core.settings import LoraSettings, ModelSettings, TrainingSettings
from dpo_core.training.trainer import train
from tests.support.expert_models import FAMILIES, model_without_weights, save_expert_model
from tests.support.toys import toy_data, toy_llama, toy_tokenizer

LORA = LoraSettings(rank=4)
EXPERTS = ["mlp.experts.down_proj", "mlp.experts.gate_up_proj"]
IDS = torch.arange(3, 40)[None]


def test_a_searched_rank_keeps_alpha_over_rank() -> None:
    settings, model = LoraSettings(rank=16, alpha=32, targets=["q_proj"]), toy_llama()
    own, searched = lora_config(settings, None, model), lora_config(settings, 4, model)
    assert (own.r, own.lora_alpha) == (16, 32)
    assert (searched.r, searched.lora_alpha) == (4, 8)
    assert searched.target_modules == {"self_attn.q_proj"}
    assert searched.lora_dropout == 0.0


@pytest.mark.parametrize("family", FAMILIES)
def test_all_linear_reaches_nearly_all_of_a_model_with_experts(family: str) -> None:
    model = model_without_weights(family)
    with torch.device("meta"):
        coverage = adapt_and_count(model, LORA)
    assert coverage.adapted > 0.95 * coverage.body
    assert coverage.body == coverage.adapted + sum(coverage.left_out.values())
    assert 0 < coverage.folded <= coverage.adapted


def test_linear_layers_that_peft_takes_for_experts_are_adapted_as_parameters() -> None:
    modules, parameters = lora_targets(model_without_weights("deepseek_v3"), "all-linear")
    assert not any("gate_proj" in name for name in modules)
    assert {"mlp.gate_proj.weight", "mlp.shared_experts.up_proj.weight", *EXPERTS} < set(parameters)


@pytest.mark.parametrize("family", ["mixtral", "deepseek_v3", "qwen3_next", "gpt_oss"])
def test_an_adapter_of_experts_trains_all_over_and_computes_the_same_when_loaded_or_merged(
    family: str, tmp_path: Path
) -> None:
    base = save_expert_model(family, tmp_path / "base")
    settings = ModelSettings(path=str(base), adapter=LORA)
    model = load_model(settings)
    trained = train(
        model,
        toy_tokenizer(),
        toy_data(model, train=8, select=4),
        DPOHyperparams(learning_rate=0.02, beta=0.3),
        model_settings=settings,
        training=TrainingSettings(max_steps=3, batch_pairs=8, evaluations=1, row_tokens=96),
        seed=1,
        workdir=tmp_path,
        on_evaluation=lambda e: e.save(tmp_path / "adapter"),
    ).eval()
    products = [p for name, p in trained.named_parameters() if ".lora_B." in name]
    assert all(product.abs().max() > 0 for product in products), "B starts at zero"
    write_merged(settings, tmp_path / "adapter", tmp_path / "merged", torch.float32)
    with torch.no_grad():
        expected = trained(IDS).logits
        loaded = load_trained(settings, tmp_path / "adapter")(IDS).logits
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(IDS).logits
        untouched = load_model(settings)(IDS).logits
    torch.testing.assert_close(loaded, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(merged, expected, atol=5e-5, rtol=1e-4)
    assert (expected - untouched).abs().max() > 0.05


@pytest.mark.parametrize("family", ["mamba", "mamba2", "falcon_h1"])
def test_what_peft_refuses_is_left_out_and_refused_by_name(family: str) -> None:
    sizes = {"state_size": 16, "num_heads": 8, "head_dim": 8, "n_groups": 1, "expand": 2}
    if family == "falcon_h1":
        sizes = {"mamba_d_ssm": 64, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 16}
    model = model_without_weights(family, **sizes)
    modules, _ = lora_targets(model, "all-linear")
    assert any(name.endswith("in_proj") for name in modules)
    assert not any(name.endswith("mixer.out_proj") for name in modules)
    with pytest.raises(ModelError, match=r"targets: 'out_proj' cannot be .*all-linear .*in_proj"):
        lora_targets(model, ["in_proj", "out_proj"])
    with torch.device("meta"):
        assert adapt_and_count(model, LORA).adapted > 0


def test_a_layer_whose_weight_mamba_reads_without_calling_it_is_left_out() -> None:
    model = model_without_weights("mamba", state_size=16)
    assert lora_targets(model, "all-linear")[0] == ["mixer.in_proj", "mixer.x_proj"]
    with pytest.raises(ModelError, match="'dt_proj' cannot be trained"):
        lora_targets(model, ["dt_proj"])


def test_a_router_that_returns_two_tensors_is_no_linear_layer() -> None:
    model = model_without_weights(
        "llama4_text", num_local_experts=4, interleave_moe_layer_step=2, intermediate_size_mlp=64
    )
    modules, parameters = lora_targets(model, "all-linear")
    assert not any("router" in name for name in (*modules, *parameters))
    with pytest.raises(
        ModelError, match=r"'router' is no plain .*feed_forward.router.weight would"
    ):
        lora_targets(model, ["router"])
    assert lora_targets(model, ["router.weight"]) == ([], ["feed_forward.router.weight"])


def test_the_tower_of_a_vision_model_is_never_adapted() -> None:
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 400}
    vision = {**layers, "num_attention_heads": 4, "image_size": 28, "patch_size": 14}
    config = Gemma3Config(text_config={**layers, **heads}, vision_config=vision)
    with torch.device("meta"):
        model = Gemma3ForConditionalGeneration(config)
        modules, _ = lora_targets(model, "all-linear")
        coverage = adapt_and_count(model, LORA)
    assert not any("vision" in name for name in (*modules, *coverage.left_out))
    assert coverage.adapted > 0.95 * coverage.body
    wrapped = [name for name, _ in model.named_modules() if name.endswith("lora_A")]
    assert len(wrapped) == 2 * 7
    with pytest.raises(
        ModelError, match=r"'vision_tower.*' is outside the body of the language model"
    ):
        lora_targets(
            Gemma3ForConditionalGeneration(config), ["vision_tower.encoder.layers.0.mlp.fc1"]
        )


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (
            ["q_porj"],
            "'q_porj' names no weight of the model; all-linear stands for mlp.down_proj, ",
        ),
        (["q_proj", "norm"], "'norm' cannot be trained by LoRA in this model"),
        ("no_match", "'no_match' names no weight of the model"),
        ("lm_.*", "names no weight"),
    ],
)
def test_unknown_targets_are_refused_with_those_that_work(targets: Any, says: str) -> None:
    with pytest.raises(ModelError) as refused:
        lora_targets(toy_llama(), targets)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_regular_expression_is_for_whole_names() -> None:
    first = r"model\.layers\.0\..*_proj"
    modules, parameters = lora_targets(toy_llama(), first)
    assert len(modules) == 7
    assert all(name.startswith("model.layers.0.") for name in modules)
    assert parameters == []


def test_dropout_is_refused_where_peft_has_none() -> None:
    noisy = LoraSettings(dropout=0.1)
    with pytest.raises(ModelError, match=r"dropout: 0\.1, but PEFT has none for mlp\.experts"):
        lora_config(noisy, None, model_without_weights("mixtral"))
    plain = LoraSettings(dropout=0.1, targets=["q_proj"])
    assert lora_config(plain, None, model_without_weights("mixtral")).lora_dropout == 0.1


def test_a_model_without_anything_to_adapt_is_refused() -> None:
    model = toy_llama(num_hidden_layers=0)
    with pytest.raises(ModelError, match=r"has no linear layer .* adapter: null"):
        lora_targets(model, "all-linear")


def test_embeddings_and_experts_together_are_exported_as_trained(tmp_path: Path) -> None:
    """The head that was tied to the embedding computed with the untouched weights."""
    config = AutoConfig.for_model(
        "qwen3_moe", **SMALL, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    adapter = LoraSettings(rank=4, targets=["embed_tokens", "experts.down_proj"])
    settings = ModelSettings(path=str(tmp_path / "base"), adapter=adapter)
    base = load_model(settings)
    model = peft.get_peft_model(base, lora_config(adapter, None, base))
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter += 0.1 * torch.randn(parameter.shape)
        expected = model(IDS).logits
    model.save_pretrained(tmp_path / "adapter")
    write_merged(settings, tmp_path / "adapter", tmp_path / "merged", torch.float32)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    with torch.no_grad():
        torch.testing.assert_close(merged(IDS).logits, expected, atol=5e-5, rtol=1e-4)
    assert merged.config.tie_word_embeddings is False


SMALL = {
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "tie_word_embeddings": True,
    "initializer_range": 0.1,
}
