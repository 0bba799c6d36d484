"""The shipped spaces: each parses, explains itself, and holds what it promises."""

from __future__ import annotations

from importlib.resources import files

import pytest

from search_spaces import (
    Choice,
    LogUniform,
    Space,
    SpaceError,
    load_preset,
    load_space,
    preset_names,
)

NORMS = Choice(["none", "mean"])


def test_names() -> None:
    assert preset_names() == ("demo", "full", "lora")


@pytest.mark.parametrize(
    ("name", "beta", "learning_rate"),
    [
        ("lora", LogUniform(0.01, 0.5), LogUniform(2e-6, 1e-4)),
        ("full", LogUniform(0.01, 0.5), LogUniform(1e-7, 3e-6)),
        ("demo", LogUniform(0.1, 0.3), LogUniform(7e-4, 1.2e-3)),
    ],
)
def test_contents(name: str, beta: LogUniform, learning_rate: LogUniform) -> None:
    space = load_preset(name)
    expected = {"beta": beta, "learning_rate": learning_rate, "length_norm": NORMS}
    assert space.axis_of_keys() == expected
    assert not space.is_conditional


@pytest.mark.parametrize("name", preset_names())
def test_file_begins_with_what_it_is_for_and_its_sources(name: str) -> None:
    text = files("search_spaces.presets").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# For ")
    for needed in ("2305.18290", "2411.15124", "units of the summed reward", "One axis"):
        assert needed in text


def test_unknown_preset_lists_the_names() -> None:
    with pytest.raises(SpaceError) as caught:
        load_preset("../lora")
    assert str(caught.value) == (
        "preset: '../lora' is unknown; use one of demo, full, lora, or write the axes themselves"
    )


def test_load_space_takes_a_name_a_mapping_or_a_space() -> None:
    lora = load_preset("lora")
    assert load_space("lora") == lora
    assert load_space(lora.to_yaml()) == lora
    assert load_space(lora) is lora
    assert load_space({"beta": 0.1}) == Space.parse({"beta": 0.1})
