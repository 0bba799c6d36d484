"""A run directory from somebody else, whose files are whole and name files outside of it.

Links, and every command on them, are in test_damaged_files.py.
"""

from __future__ import annotations

import hashlib
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from dpo_core.errors import UserError
from dpo_core.storage.json_content import encode_json
from dpo_core.storage.store import Store
from dpo_core.training.checkpoints import read_manifest
from sweeps.finalize.export import copy_best
from sweeps.nightly.pointers import deserves_promotion, read_incumbent
from sweeps.run_dir import ledger
from sweeps.run_dir.exported import MANIFEST, ExportedModel
from sweeps.run_dir.final_register import FinalRegister
from sweeps.run_dir.paths import NightPaths, SweepPaths
from sweeps.run_dir.prepared import Prepared
from sweeps.sweep import read_selection
from tests.support.exported_models import write_best
from tests.support.selections import a_selection

SECRET = "the victim's own"
LEAVING = ["../secret", "../../secret", "/etc/hostname"]


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    """A run directory, beside which a secret lies."""
    (tmp_path / "secret").write_text(SECRET)
    return SweepPaths(Store.open(tmp_path / "runs"), "copied")


def write(paths: SweepPaths, name: str, content: Any) -> None:
    paths.store.write(name, encode_json(content))


@pytest.mark.parametrize("name", LEAVING)
class TestNames:
    def test_prepared(self, paths: SweepPaths, name: str) -> None:
        row = dict.fromkeys(("data_sha256", "weights_sha256", "tokenizer_sha256"), "")
        row |= {"reports": {}, "reference_keys": {"train": name}, "reference_computed": {}}
        write(paths, paths.prepared, row)
        with pytest.raises(UserError, match=f"prepared.json: names '{name}'.*resume"):
            Prepared.read(paths)

    def test_selection(self, paths: SweepPaths, name: str) -> None:
        selection = a_selection()
        selection["winner"]["trial"] = name
        write(paths, paths.selection, selection)
        with pytest.raises(UserError, match=f"selection.json: names '{name}'.*resume"):
            read_selection(paths)

    def test_exported_model(self, paths: SweepPaths, name: str) -> None:
        manifest = write_best(paths, "t0001", 8)
        write(paths, f"{paths.best}/{MANIFEST}", {**manifest, "files": {name: ""}})
        with pytest.raises(UserError, match=f"dpo-sweeps.json: names '{name}'.*resume"):
            ExportedModel.of(paths).check()

    def test_checkpoint(self, tmp_path: Path, name: str) -> None:
        digest = hashlib.sha256(SECRET.encode()).hexdigest()
        manifest = {"point": {}, "seed": 0, "files": {name: digest}}
        (tmp_path / "manifest.json").write_bytes(encode_json(manifest))
        with pytest.raises(ValueError, match=f"names '{name}'"):
            read_manifest(tmp_path)

    def test_ledger(self, paths: SweepPaths, name: str) -> None:
        record = ledger.TrialRecord(name, {}, "finished", 0)
        ledger.append(paths.store, paths.ledger, record)
        with pytest.raises(UserError, match=r"ledger.jsonl:1: damaged .*no name of a trial"):
            ledger.read(paths.store, paths.ledger)

    def test_register_of_finals(self, paths: SweepPaths, name: str) -> None:
        keys = ("sweep", "night", "why", "against", "checkpoint", "when", "number", "declared")
        row = {**dict.fromkeys(keys, ""), "prompts": name}
        paths.storage.write(".finals/openings/1.json", encode_json(row))
        with pytest.raises(UserError, match=f"1.json: names '{name}'.*restore it"):
            FinalRegister.of(paths.storage).opened_questions()


def test_steps_are_numbers(paths: SweepPaths) -> None:
    selection = a_selection()
    selection["winner"]["step"] = "/../../secret"
    write(paths, paths.selection, selection)
    with pytest.raises(UserError, match=r"selection.json: holds no names .*resume"):
        read_selection(paths)


@pytest.mark.parametrize("where", ["elsewhere", "runs/../elsewhere", "runs/link"])
def test_pointers_of_nights_stay_in_their_storage(tmp_path: Path, where: str) -> None:
    other = SweepPaths(Store.open(tmp_path / "elsewhere"), "sweep")
    write_best(other, "t0001", 8)
    nights = NightPaths(Store.open(tmp_path / "runs"), "hh")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "elsewhere")
    path = f"{tmp_path}/{where}/sweep/best"
    keys = ("night", "sweep", "trial", "step", "point")
    pointer = {**dict.fromkeys(keys, ""), "path": path}
    nights.storage.write(nights.incumbent, encode_json(pointer))
    with pytest.raises(UserError, match=r"incumbent.json: points at .* outside .*delete it"):
        read_incumbent(nights)
    nights.storage.delete(nights.incumbent)
    selection = a_selection(folder=nights.sweep(date(2026, 1, 1)).store.uri)
    selection["winner"]["path"] = path
    selection["verdict"]["word"] = "better"
    with pytest.raises(UserError, match=r"selection.json: points at .* outside"):
        deserves_promotion(nights, {"incumbent": None, "sweep": "hh"}, selection)


@pytest.mark.parametrize("name", ["model.safetensors", "adapter/adapter_model.safetensors", "more"])
def test_a_link_is_not_copied_into_an_export(paths: SweepPaths, tmp_path: Path, name: str) -> None:
    """Also where no digest says what it should hold."""
    manifest = write_best(paths, "t0001", 8)
    files = {n: digest for n, digest in manifest["files"].items() if n != name}
    write(paths, f"{paths.best}/{MANIFEST}", {**manifest, "files": files})
    file = Path(paths.store.root) / paths.best / name
    file.unlink(missing_ok=True)
    file.symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match="is a link, and none is followed"):
        copy_best(paths, tmp_path / "copy", a_selection(), even_if_not_better=True)
    assert not (tmp_path / "copy").exists()


def test_a_model_from_a_hub_s_cache_is_full_of_links(tmp_path: Path) -> None:
    """They are its owner's, who named it as the incumbent; a sweep's own export has none."""
    (tmp_path / "blob").write_text("{}")
    for name in ("snapshot", "best"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").symlink_to("../blob")
    model = ExportedModel.at(str(tmp_path / "snapshot"))
    assert model.exists
    assert (model.download(tmp_path / "none") / "config.json").read_text() == "{}"
    with pytest.raises(UserError, match="is a link"):
        _ = ExportedModel.at(str(tmp_path / "best")).exists


def test_json_of_a_sweep_is_read_as_ever(paths: SweepPaths) -> None:
    """Or the tests above would pass whatever is written."""
    write(paths, paths.selection, json.loads(json.dumps(a_selection())))
    assert read_selection(paths)["winner"] == a_selection()["winner"]
    write_best(paths, "t0001", 8)
    ExportedModel.of(paths).check()
