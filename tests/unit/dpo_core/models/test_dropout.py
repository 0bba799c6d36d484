"""Dropout is off everywhere but in an adapter that was given its own."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from dpo_core.hyperparams import DPOHyperparams
from dpo_core.models.load import load_model
from dpo_core.models.merge import write_converted
from dpo_core.scoring.logprobs import score_pairs
from dpo_core.scoring.row_layout import RowLayout
from dpo_core.settings import LoraSettings, ModelSettings, TrainingSettings
from dpo_core.training.trainer import train
from dpo_core.training.trial_data import TrialData
from tests.support.toys import VOCABULARY, toy_encoded, toy_llama, toy_tokenizer

NOISY: dict[str, dict[str, Any]] = {
    "opt": {
        "hidden_size": 32,
        "ffn_dim": 64,
        "word_embed_proj_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "layerdrop": 0.1,
    },
    "gpt2": {
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "resid_pdrop": 0.1,
        "embd_pdrop": 0.1,
        "attn_pdrop": 0.1,
    },
    "falcon": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "hidden_dropout": 0.1,
        "attention_dropout": 0.1,
    },
    "mixtral": {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_local_experts": 4,
        "router_jitter_noise": 0.1,
    },
    "gpt_neo": {
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "attention_dropout": 0.1,
    },
}
LORA = LoraSettings(rank=4)


def save_noisy(kind: str, folder: Path) -> Path:
    config = AutoConfig.for_model(
        kind, vocab_size=VOCABULARY, initializer_range=0.1, pad_token_id=2, **NOISY[kind]
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def losses_and_weights(
    settings: ModelSettings,
    workdir: Path,
    resume_from: Path | None = None,
    gradient_checkpointing: bool = False,
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Train four steps, with a checkpoint after two."""
    model, losses = load_model(settings), list[float]()
    trained = train(
        model,
        toy_tokenizer(),
        _data(model),
        DPOHyperparams(learning_rate=3e-3, beta=0.3),
        model_settings=settings,
        training=TrainingSettings(
            max_steps=4,
            batch_pairs=4,
            evaluations=2,
            row_tokens=96,
            gradient_checkpointing=gradient_checkpointing,
        ),
        seed=1,
        workdir=workdir,
        on_evaluation=lambda e: e.save(workdir / f"checkpoint-{e.step}"),
        on_step=lambda step, loss: losses.append(loss),
        resume_from=resume_from,
    )
    return losses, trained.state_dict()


def _data(model: Any) -> TrialData:
    """Twelve pairs, with a pass for each answer: no model is wrong about those."""
    plain, pairs = RowLayout.PLAIN, toy_encoded(12)
    splits = pairs[:8], pairs[8:]
    references = (score_pairs(model, split, 96, plain).numpy() for split in splits)
    return TrialData(*splits, *references, plain)


def assert_starts_at_ln_2_and_resumes_exactly(settings: ModelSettings, workdir: Path) -> None:
    losses, weights = losses_and_weights(settings, workdir / "whole")
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5)
    checkpoint = workdir / "whole" / "checkpoint-2"
    resumed, again = losses_and_weights(settings, workdir / "resumed", checkpoint)
    assert resumed == losses[2:]
    assert all(torch.equal(weight, again[name]) for name, weight in weights.items())


@pytest.mark.parametrize(
    ("kind", "attention"),
    [
        ("opt", "auto"),
        ("opt", "sdpa"),
        ("gpt2", "auto"),
        ("gpt2", "eager"),
        ("falcon", "auto"),
        ("falcon", "eager"),
        ("gpt_neo", "eager"),
        ("mixtral", "auto"),
    ],
)
def test_training_starts_at_ln_2_and_resumes_exactly(
    kind: str, attention: Any, tmp_path: Path
) -> None:
    base = save_noisy(kind, tmp_path / "base")
    settings = ModelSettings(path=str(base), adapter=None, attention=attention)
    assert_starts_at_ln_2_and_resumes_exactly(settings, tmp_path)


def test_an_adapter_of_experts_resumes_exactly(tmp_path: Path) -> None:
    base = save_noisy("mixtral", tmp_path / "base")
    settings = ModelSettings(path=str(base), adapter=LORA)
    assert_starts_at_ln_2_and_resumes_exactly(settings, tmp_path)


def test_an_adapter_keeps_its_own_dropout_and_resumes_exactly(tmp_path: Path) -> None:
    toy_llama().save_pretrained(tmp_path / "base")
    settings = ModelSettings(path=str(tmp_path / "base"), adapter=LORA)
    plain, _ = losses_and_weights(settings, tmp_path / "plain")
    dropping = LORA.model_copy(update={"dropout": 0.2})
    noisy = settings.model_copy(update={"adapter": dropping})
    losses, _ = losses_and_weights(noisy, tmp_path / "noisy")
    assert losses[0] == plain[0], "the adapter's product is still zero"
    assert losses[1:] != plain[1:]
    assert_starts_at_ln_2_and_resumes_exactly(noisy, tmp_path)


def test_layers_that_checkpoint_their_activations_drop_nothing_either(tmp_path: Path) -> None:
    base = save_noisy("opt", tmp_path / "base")
    settings = ModelSettings(path=str(base), adapter=None)
    thrifty, _ = losses_and_weights(settings, tmp_path / "thrifty", gradient_checkpointing=True)
    plain, _ = losses_and_weights(settings, tmp_path / "plain")
    assert thrifty == pytest.approx(plain, abs=1e-6)


def test_an_export_has_the_dropout_of_the_model_it_was_trained_from(tmp_path: Path) -> None:
    base = save_noisy("opt", tmp_path / "base")
    model = load_model(ModelSettings(path=str(base), adapter=None))
    assert model.config.layerdrop == 0
    model.save_pretrained(tmp_path / "trained")
    write_converted(tmp_path / "trained", base, tmp_path / "export", torch.float32)
    config = json.loads((tmp_path / "export" / "config.json").read_text())
    assert [config[key] for key in ("dropout", "attention_dropout", "layerdrop")] == [0.1] * 3
