"""An exported model proves itself whole by its manifest, in a sweep and in a copy, near and far."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from dpo_core.errors import UserError
from dpo_core.storage.store import Store
from sweeps.run_dir import json_files
from sweeps.run_dir.exported import CARD, MANIFEST, ExportedModel

_NUMBER = itertools.count()
FILES = ("config.json", "model.safetensors", "adapter/adapter_model.safetensors")


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    is_near = request.param == "folder"
    return Store.open(tmp_path / "hh-1" if is_near else f"memory://best-{next(_NUMBER)}/hh-1")


def write_model(store: Store, folder: str = "best") -> ExportedModel:
    for name in FILES:
        store.write(f"{folder}/{name}", name.encode())
    digests = {name: store.sha256(f"{folder}/{name}") for name in FILES}
    manifest = {"trial": "t0001", "step": 8, "files": digests}
    json_files.EXPORTED.write(store, f"{folder}/{MANIFEST}", manifest)
    return ExportedModel(store, folder)


def test_a_whole_model_is_used(store: Store, tmp_path: Path) -> None:
    model = write_model(store)
    assert model.exists
    assert model.is_whole()
    model.check()
    local = model.download(tmp_path / "copy")
    assert (local / "model.safetensors").read_text() == "model.safetensors"
    assert ExportedModel.at(model.uri) == model


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", [b"", b"mode", None])
def test_a_damaged_file_is_refused_with_the_way_out(
    store: Store, tmp_path: Path, name: str, content: bytes | None
) -> None:
    model = write_model(store)
    store.delete(f"best/{name}")
    if content is not None:
        store.write(f"best/{name}", content)
    assert not model.is_whole()
    problem = f"best/{name}: is missing or damaged; `dpo-sweeps resume .*hh-1` exports the winner"
    with pytest.raises(UserError, match=problem):
        model.check()
    with pytest.raises(UserError, match=problem):
        model.download(tmp_path / "copy")


def test_a_damaged_manifest(store: Store) -> None:
    model = write_model(store)
    content = store.read(f"best/{MANIFEST}")
    store.write(f"best/{MANIFEST}", content.replace(b"t0001", b"t0002"))
    assert not model.is_whole()
    with pytest.raises(UserError, match=r"dpo-sweeps.json: is not what was written"):
        model.check()


def test_a_damaged_copy_says_how_to_copy_again(store: Store) -> None:
    model = write_model(store, "production")
    store.write("production/model.safetensors", b"x")
    with pytest.raises(UserError, match="copy the model again with `dpo-sweeps export`"):
        model.check()


def test_models_without_digests_are_used_as_they_are(store: Store, tmp_path: Path) -> None:
    store.write("hub/config.json", b"{}")
    store.write("old/config.json", b"{}")
    store.write(f"old/{MANIFEST}", b'{"trial": "t0001", "step": 8}')
    for folder in ("hub", "old"):
        model = ExportedModel(store, folder)
        assert model.exists
        model.check()
        assert (model.download(tmp_path / folder) / "config.json").read_text() == "{}"
    assert not ExportedModel(store, "hub").is_whole(), "nothing says so"
    assert ExportedModel(store, "old").is_whole()
    assert not ExportedModel(store, "nowhere").exists


def test_the_card_is_part_of_the_manifest(store: Store) -> None:
    model = write_model(store)
    model.write_card("# card")
    assert store.read(f"best/{CARD}") == b"# card"
    model.check()
    store.write(f"best/{CARD}", b"# other")
    assert not model.is_whole()
    assert model.is_whole(without=CARD)
    model.write_card("# card")
    assert model.is_whole()
