"""Names of tensors: what is missing, what has no place, and what may be left out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dpo_core.errors import ModelError
from dpo_core.models.tensor_names import LoadedNames

MODEL = (
    "model.embed_tokens.weight",
    *(f"model.layers.{i}.self_attn.q_proj.weight" for i in range(12)),
    "model.norm.weight",
    "lm_head.weight",
)


def names(
    missing: Sequence[str] = (), unexpected: Sequence[str] = (), further_layers: int = 0
) -> LoadedNames:
    return LoadedNames(MODEL, missing, unexpected, (), further_layers)


def test_a_whole_checkpoint_passes() -> None:
    names().check("x")
    assert names().left_out(MODEL) == {}


@pytest.mark.parametrize(
    ("missing", "unexpected", "message"),
    [
        ([MODEL[11], MODEL[3]], [], "first model.layers.2.self_attn.q_proj.weight"),
        (["lm_head.weight"], [], "saved without lm_head"),
        (["lm_head.weight"], ["score.weight"], "made for classification"),
        ([], ["score.weight"], "no place for 1 .* first score.weight; it was made for class"),
        ([], ["model.layers.3.self_attn.q_proj.bias"], "config.json is of another model"),
        ([], ["layers.12.self_attn.q_proj.weight"], "another number of layers"),
        ([], ["lm_head.bias"], "no place for 1 of its tensors, first lm_head.bias"),
        (["model.norm.weight"], ["a.b.model.norm.weight"], "begin with 'a.b.', which a wrapper"),
        (
            [MODEL[1]],
            ["model.layers.0.self_attn.q_proj.base_layer.weight"],
            "there are names with 'base_layer.', which PEFT adds",
        ),
        (
            [MODEL[1]],
            ["model.layers.0._checkpoint_wrapped_module.self_attn.q_proj.weight"],
            "names with '_checkpoint_wrapped_module.', which activation checkpointing adds",
        ),
        (
            list(MODEL),
            [name.replace("model.", "model.language_model.") for name in MODEL],
            "names with 'language_model.', which a wrapper adds",
        ),
        ([MODEL[1]], ["model.layers.0.self_attn.q_proj.qweight"], "are of quantized weights: give"),
        ([], ["model.layers.0.self_attn.q_proj.weight.absmax"], "are of quantized weights"),
        ([], ["model.layers.0.self_attn.q_proj.weight_scale_inv"], "are of quantized weights"),
    ],
)
def test_the_first_name_and_the_likely_cause_are_given(
    missing: list[str], unexpected: list[str], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        names(missing, unexpected).check("x")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("v_head.summary.bias", "a value head of TRL"),
        ("model.visual.blocks.0.attn.qkv.weight", "a vision or audio part"),
        ("vision_tower.encoder.layers.3.norm.weight", "a vision or audio part"),
        ("audio_tower.conv1.weight", "a vision or audio part"),
        ("multi_modal_projector.linear_1.weight", "a vision or audio part"),
        ("mtp.layers.0.self_attn.q_proj.weight", "layers that predict further tokens (MTP)"),
        ("model.layers.12.eh_proj.weight", "layers that predict further tokens (MTP)"),
        ("h.3.attn.masked_bias", "buffers of older versions"),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", "buffers of older versions"),
        ("frobnicator.weight", "other parts"),
    ],
)
def test_other_parts_are_named_and_left_out(name: str, part: str) -> None:
    loaded = names(unexpected=[name], further_layers=1)
    loaded.check("x")
    assert loaded.left_out([*MODEL, name]) == {part: [name]}


def test_what_transformers_itself_ignores_is_named_too() -> None:
    assert names().left_out([*MODEL, "mtp.fc.weight"]) == {
        "layers that predict further tokens (MTP)": ["mtp.fc.weight"]
    }


def test_a_part_that_the_model_has_is_not_left_out() -> None:
    loaded = LoadedNames([*MODEL, "model.visual.patch.weight"], [], [])
    assert loaded.left_out([*MODEL, "visual.patch.weight"]) == {}
